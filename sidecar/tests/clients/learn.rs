//! Round trips: what is learnt of a client lets the same client through when it is enforced, and nothing else.

use std::fs;

use sandgate_policy::Policy;
use sandgate_testkit::origin::{Origin, Protocols};

use crate::harness::{Bench, Finished, ZEN, assert_shows, python};

/// Where a test learns to.
fn policy(bench: &Bench) -> String {
    bench.dir.path().join("policy.yaml").display().to_string()
}

async fn learn(bench: &Bench, client: &[&str]) -> Finished {
    let policy = ["--learn", &policy(bench), "--private-cidr", "127.0.0.0/8"];
    bench.run_under(&policy, &["env"], &[], client).await
}

async fn enforce(bench: &Bench, client: &[&str]) -> Finished {
    bench.run_under(&["--policy", &policy(bench)], &["env"], &[], client).await
}

/// Learns of `client`, runs it again under what was learnt, and returns the policy. Both times it has to print the same.
async fn round_trip(bench: &Bench, client: &[&str]) -> String {
    let learnt = learn(bench, client).await;
    assert_eq!(learnt.code, 0, "{}{}", learnt.stdout, learnt.stderr);
    assert_eq!(learnt.summary["learnt"]["file"], policy(bench));
    let text = fs::read_to_string(policy(bench)).expect("the policy is written");
    let enforced = enforce(bench, client).await;
    assert_eq!(enforced.code, 0, "{}{}\n{text}", enforced.stdout, enforced.stderr);
    assert_eq!(enforced.stdout, learnt.stdout);
    for host in enforced.summary["hosts"].as_array().expect("a list of hosts") {
        assert_eq!(host["verdict"], "allowed", "{host}\n{text}");
    }
    text
}

#[tokio::test]
async fn curl_and_git_run_again_under_what_was_learnt_of_them() {
    let bench = Bench::start().await;
    let script = "cd \"$HOME\" && rm -rf clone && curl -sS --http1.1 $1/zen && curl -sS --http2 $1/zen?q=1 \
                  && curl -sS -X POST -d x -o upload $1/upload && git clone --quiet $1/git/repository.git clone \
                  && cd clone && git log -1 --format=%s";
    let url = format!("https://{}", bench.listed());
    let text = round_trip(&bench, &["sh", "-c", script, "sh", &url]).await;
    assert_shows(&text, &["    host: origin.test\n", "    private_cidrs: [\"127.0.0.0/8\"]\n"]);
    assert_shows(&text, &["- \"/zen\"  # 2 requests\n", "- \"/git/repository.git/info/refs\"  # 1 request\n"]);
    assert_shows(&text, &["- \"/git/repository.git/git-upload-pack\"  # ", "- \"/upload\"  # 1 request\n"]);
    for (method, path) in [("DELETE", "/zen"), ("GET", "/upload"), ("GET", "/git/other.git/info/refs")] {
        let finished = enforce(&bench, &["curl", "-sS", "-i", "-X", method, &format!("{url}{path}")]).await;
        assert_shows(&finished.stdout, &["403", "request_not_allowed"]);
    }
}

#[tokio::test]
async fn websockets_grpc_and_http_of_python_run_again_under_what_was_learnt_of_them() {
    const CLIENT: &str = r#"
import asyncio, sys, grpc, requests
from websockets.asyncio.client import connect
same = lambda message: message
print(requests.get(f"https://{sys.argv[1]}/zen").text, end="")
async def talk():
    async with connect(f"wss://{sys.argv[1]}/ws") as socket:
        await socket.send("hello")
        print(await socket.recv())
asyncio.run(talk())
with grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials()) as channel:
    print(channel.unary_unary("/sandgate.test.Echo/Unary", same, same)(b"one", timeout=30))
"#;
    let bench = Bench::start().await;
    let (python, script) = (python(), bench.script("client.py", CLIENT));
    let text = round_trip(&bench, &[&python, &script, &bench.listed()]).await;
    assert_shows(&text, &["- \"/ws\"  # 1 request\n", "- \"/sandgate.test.Echo/Unary\"  # 1 request\n"]);
    let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(policy.rules().len(), 1);
}

#[tokio::test]
async fn plain_http_addresses_and_international_names_run_again_under_what_was_learnt_of_them() {
    let bench = Bench::start().await;
    let plain = Origin::builder().protocols(Protocols::Plain).start().await;
    let (port, plain_port) = (bench.origin.port(), plain.port());
    let script = format!(
        "curl -sS --noproxy '' https://127.0.0.1:{port}/zen && curl -sS --noproxy '' http://127.0.0.1:{plain_port}/zen \
         && curl -sS --noproxy '' --proxytunnel http://xn--bcher-kva.example:{plain_port}/zen"
    );
    let resolve = format!("xn--bcher-kva.example:{plain_port}:127.0.0.1");
    let client = ["sh", "-c", &script];
    let learnt = ["--learn", &policy(&bench), "--private-cidr", "127.0.0.0/8", "--resolve", &resolve];
    let learnt = bench.run_under(&learnt, &["env"], &[], &client).await;
    let text = fs::read_to_string(policy(&bench)).expect("the policy is written");
    assert_eq!((learnt.code, learnt.stdout), (0, ZEN.repeat(3)), "{}", learnt.stderr);
    assert_shows(&text, &["host: 127.0.0.1\n", "scheme: http\n", "host: xn--bcher-kva.example\n"]);
    let enforced = ["--policy", &policy(&bench), "--resolve", &resolve];
    let enforced = bench.run_under(&enforced, &["env"], &[], &client).await;
    assert_eq!((enforced.code, enforced.stdout), (0, ZEN.repeat(3)), "{}\n{text}", enforced.stderr);
}

#[tokio::test]
async fn a_second_run_extends_the_file_and_changes_no_line_of_it() {
    let bench = Bench::start().await;
    let url = |path: &str| format!("https://{}{path}", bench.listed());
    learn(&bench, &["curl", "-sS", &url("/zen")]).await;
    let first = fs::read_to_string(policy(&bench)).expect("the policy is written");
    let mine = first.replace("    allow:\n", "    # mine\n    limits: {idle: 5m}\n    allow:\r\n");
    fs::write(policy(&bench), &mine).expect("the policy is written");
    let again = learn(&bench, &["curl", "-sS", &url("/zen")]).await;
    assert_eq!(again.summary["learnt"]["rules"], 0);
    assert_eq!(fs::read_to_string(policy(&bench)).expect("the policy is there"), mine);
    let more = learn(&bench, &["curl", "-sS", "-d", "x", &url("/upload")]).await;
    assert_eq!((&more.summary["learnt"]["hosts"], &more.summary["learnt"]["rules"]), (&1.into(), &1.into()));
    let added = "      - methods: [POST]  # 1 request\n        paths:\n          - \"/upload\"  # 1 request\n";
    let text = fs::read_to_string(policy(&bench)).expect("the policy is there");
    assert_eq!(text, format!("{mine}{added}"));
}

#[tokio::test]
async fn both_protocols_go_through_a_tunnel_whatever_the_file_lists_there() {
    let bench = Bench::start().await;
    let plain = Origin::builder().protocols(Protocols::Plain).start().await;
    let destination = |id: &str, port: u16, scheme: &str| {
        format!("  - {{id: {id}, host: 127.0.0.1, ports: [{port}], scheme: {scheme}, private_cidrs: [127.0.0.0/8]}}\n")
    };
    let other = destination("a", bench.origin.port(), "http") + &destination("b", plain.port(), "https");
    fs::write(policy(&bench), format!("version: 1\ndestinations:\n{other}")).expect("the policy is written");
    let (secure, clear) = (bench.origin.port(), plain.port());
    let script = format!(
        "curl -sS --noproxy '' https://127.0.0.1:{secure}/zen && curl -sS --noproxy '' --proxytunnel http://127.0.0.1:{clear}/zen"
    );
    round_trip(&bench, &["sh", "-c", &script]).await;
}
