//! curl, the client that most others are like: its library is in git, PHP and many more.

use crate::harness::{Bench, REASON, ZEN, assert_shows};

const VERSION: &str = "%{http_version}";

#[tokio::test]
async fn curl_speaks_both_protocols() {
    for (flag, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let bench = Bench::start().await;
        let url = format!("https://{}/zen", bench.listed());
        let printed = bench.reached(bench.run(&["curl", "-sS", flag, "-w", VERSION, &url]).await);
        assert_eq!(printed, format!("{ZEN}{spoken}"), "{flag}");
    }
}

#[tokio::test]
async fn curl_uploads_over_both_protocols() {
    for flag in ["--http1.1", "--http2"] {
        let bench = Bench::start().await;
        let body = bench.script("body", &"x".repeat(3_000_000));
        let (url, body) = (format!("https://{}/upload", bench.listed()), format!("@{body}"));
        // Without a length, and with `Expect: 100-continue` where curl sends it.
        let chunked = ["curl", "-sS", flag, "-H", "transfer-encoding: chunked", "--data-binary", &body, &url];
        let client =
            if flag == "--http1.1" { &chunked[..] } else { &["curl", "-sS", flag, "--data-binary", &body, &url] };
        let printed = bench.reached(bench.run(client).await);
        assert_shows(&printed, &["\"body_bytes\":3000000"]);
    }
}

#[tokio::test]
async fn curl_is_refused_and_shows_the_reason_with_v() {
    for flag in ["--http1.1", "--http2"] {
        let bench = Bench::start().await;
        let url = format!("https://{}/zen", bench.other());
        let finished = bench.run(&["curl", "-v", flag, &url]).await;
        assert_eq!(finished.code, 56, "CURLE_RECV_ERROR, as for any refused CONNECT");
        let proxy_status = "< proxy-status: sandgate; error=http_request_denied; details=\"host_not_allowed\"";
        assert_shows(&bench.refused(finished), &[&format!("< HTTP/1.1 403 {REASON}"), proxy_status]);
    }
}

#[tokio::test]
async fn curl_prints_the_json_of_a_refused_plain_request() {
    let bench = Bench::start().await;
    let url = format!("http://{}/zen", bench.other());
    let printed = bench.refused(bench.run(&["curl", "-sS", "--fail-with-body", &url]).await);
    assert_shows(&printed, &["\"error\":\"host_not_allowed\"", &format!("\"host\":\"{}\"", bench.other())]);
}
