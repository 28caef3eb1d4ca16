//! The audit log: what each kind of line holds, and what no line ever does.

use http::Request;
use sandgate_testkit::client::{ClientTls, connect_through, read_all, tunnel, websocket};
use sandgate_testkit::origin::Origin;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{DEADLINE, Setup, allow, resolve, start_origin, url};

async fn setup(origin: &Origin, more: &str) -> Setup {
    let pod = ["--pod-name", "pod-1", "--pod-namespace", "team", "--pod-uid", "uid-1", "--resolve"];
    let resolve = resolve(origin);
    let arguments = [&pod[..], &[&resolve]].concat();
    Setup::start(origin.ca(), &format!("{}{more}", allow(origin)), &arguments).await
}

fn has(line: &Value, fields: &[&str]) {
    for field in fields {
        assert!(!line[field].is_null(), "{field}: {line}");
    }
}

#[tokio::test]
async fn each_decision_and_each_finished_request_has_a_line_with_all_that_is_known() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let mut client = setup.client(&origin).await;
    assert_eq!(client.post(&url(&origin, "/upload"), "12345").await.unwrap().status, 200);
    let request = setup.sidecar.wait_for_audit(|line| line["kind"] == "request", DEADLINE).await;
    let identity = ["v", "time", "pod", "namespace", "uid", "kind", "connection"];
    has(&request, &identity);
    has(&request, &["request", "total_ms", "connect_ms", "first_byte_ms"]);
    assert_eq!((&request["v"], &request["pod"]), (&1.into(), &"pod-1".into()));
    assert_eq!((&request["namespace"], &request["uid"]), (&"team".into(), &"uid-1".into()));
    assert_eq!((&request["method"], &request["scheme"]), (&"POST".into(), &"https".into()));
    assert_eq!((&request["host"], &request["port"]), (&"origin.test".into(), &origin.port().into()));
    assert_eq!((&request["path"], &request["rule"]), (&"/upload".into(), &"origin".into()));
    assert_eq!((&request["verdict"], &request["status"]), (&"allowed".into(), &200.into()));
    assert_eq!(request["address"], origin.addr().to_string());
    assert_eq!(request["bytes_up"], 5);
    assert!(request["bytes_down"].as_u64() > Some(10) && request["code"].is_null(), "{request}");
    let lines = setup.sidecar.audit_lines();
    let decisions: Vec<_> = lines.iter().filter(|line| line["kind"] == "decision").collect();
    assert_eq!(decisions.len(), 2, "{lines:?}");
    assert_eq!((&decisions[0]["method"], &decisions[0]["status"]), (&"CONNECT".into(), &200.into()));
    assert_eq!(decisions[1]["request"], request["request"]);
    assert!(decisions.iter().all(|line| line["connection"] == request["connection"] && line["verdict"] == "allowed"));
}

#[tokio::test]
async fn a_refusal_has_one_line_with_its_code() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    deny: [{paths: [/zen]}]\n").await;
    connect_through(setup.sidecar.proxy(), "other.test:443").await.unwrap();
    connect_through(setup.sidecar.proxy(), "user@origin.test:443").await.unwrap();
    setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap();
    let denied = setup.sidecar.wait_for_audit(|line| line["code"] == "request_denied", DEADLINE).await;
    assert_eq!((&denied["verdict"], &denied["status"]), (&"denied".into(), &403.into()));
    assert_eq!((&denied["rule"], &denied["path"]), (&"origin".into(), &"/zen".into()));
    assert!(denied["address"].is_null());
    let lines = setup.sidecar.audit_lines();
    for (code, status) in [("host_not_allowed", 403), ("bad_authority", 400)] {
        let of_code: Vec<_> = lines.iter().filter(|line| line["code"] == code).collect();
        assert_eq!(of_code.len(), 1, "{code}: {lines:?}");
        assert_eq!((&of_code[0]["status"], &of_code[0]["kind"]), (&status.into(), &"decision".into()));
    }
}

#[tokio::test]
async fn websockets_and_passthrough_tunnels_end_with_a_line_that_has_their_bytes() {
    let origin = start_origin().await;
    let intercepted = setup(&origin, "").await;
    let mut stream = intercepted.tls_stream(&origin).await;
    let reply = websocket(&mut stream, &format!("origin.test:{}", origin.port()), "/ws?token=s3cret").await.unwrap();
    assert_eq!(reply.status, 101);
    stream.write_all(&sandgate_testkit::origin::websocket::Frame::new(8, "").encode(Some([1; 4]))).await.unwrap();
    read_all(&mut stream, DEADLINE).await;
    drop(stream);
    let ended = intercepted.sidecar.wait_for_audit(|line| line["kind"] == "tunnel_end", DEADLINE).await;
    assert_eq!((&ended["status"], &ended["path"], &ended["rule"]), (&101.into(), &"/ws".into(), &"origin".into()));
    has(&ended, &["request", "address", "bytes_up", "bytes_down", "total_ms"]);
    assert_eq!(ended["bytes_up"], 6);

    let passed = setup(&origin, "    tls: passthrough\n").await;
    let stream = tunnel(passed.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    let stream = ClientTls::new(&origin.ca().root_pem()).handshake("origin.test", stream).await.unwrap();
    drop(stream);
    let ended = passed.sidecar.wait_for_audit(|line| line["kind"] == "tunnel_end", DEADLINE).await;
    has(&ended, &["connection", "address", "bytes_up", "bytes_down", "total_ms", "connect_ms"]);
    assert!(ended["bytes_up"].as_u64() > Some(200) && ended["path"].is_null() && ended["method"].is_null(), "{ended}");
}

#[tokio::test]
async fn no_line_holds_a_query_a_header_a_body_or_a_long_segment() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let mut client = setup.client(&origin).await;
    let token = "k".repeat(25);
    for target in [
        format!("/echo/{token}/x?q=s3cret-query"),
        format!("/echo/{}", "ab/".repeat(200)),
        "/echo/s%3Fx=1#".trim_end_matches('#').to_owned(),
    ] {
        let request = Request::post(url(&origin, &target))
            .header("authorization", "Bearer s3cret-header")
            .header("cookie", "s3cret-cookie=1")
            .header("x-s3cret-name", "1")
            .body(sandgate_testkit::client::bytes_body("s3cret-body"))
            .unwrap();
        assert_eq!(client.fetch(request).await.unwrap().status, 200);
    }
    // Refused and broken requests tell no more.
    let request = "GET http://other.test/?s3cret-query HTTP/1.1\r\nHost: other.test\r\nX: s3cret-header\r\nConnection: close\r\n\r\n";
    sandgate_testkit::client::raw(setup.sidecar.proxy(), request.as_bytes(), DEADLINE).await.unwrap();
    setup.sidecar.wait_for_audit(|line| line["host"] == "other.test", DEADLINE).await;
    let lines = setup.sidecar.audit_lines();
    for line in &lines {
        let text = line.to_string();
        assert!(!text.contains("s3cret") && !text.contains(&token), "{text}");
        assert!(line["path"].as_str().is_none_or(|path| path.len() <= 256), "{text}");
    }
    assert!(lines.iter().any(|line| line["path"] == "/echo/*/x"), "{lines:?}");
    assert!(!setup.sidecar.stderr().contains("s3cret"), "the log on stderr neither");
}

#[tokio::test]
async fn lost_lines_are_counted_and_the_next_line_says_how_many() {
    let origin = start_origin().await;
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("audit");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Both ends open, and nobody reads: the pipe fills.
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let arguments = ["--resolve", &resolve(&origin), "--audit-queue", "10", "--audit-log", fifo.to_str().unwrap()];
    let setup = Setup::start(origin.ca(), &allow(&origin), &arguments).await;
    let mut client = setup.client(&origin).await;
    let lost = async || setup.metric("sandgate_audit_lost_total").await.unwrap_or_default();
    while lost().await == 0.0 {
        for _ in 0..100 {
            assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200, "it serves on");
        }
    }
    let counted = lost().await;
    let lines = tokio::task::spawn_blocking(move || {
        use std::io::BufRead as _;
        let mut said = 0.0;
        for line in std::io::BufReader::new(&mut reader).lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).expect("lines stay whole");
            said += line["lost"].as_f64().unwrap_or_default();
            if said >= counted {
                break;
            }
        }
        said
    });
    // A line after the loss, which says it.
    let more = async {
        while !lines.is_finished() {
            client.get(&url(&origin, "/zen")).await.unwrap();
        }
        lines.await.unwrap()
    };
    assert!(tokio::time::timeout(DEADLINE, more).await.expect("the loss is said") >= counted);
}

#[tokio::test]
async fn a_request_whose_address_is_refused_ends_as_denied() {
    let origin = start_origin().await;
    let policy = format!("  - id: origin\n    host: origin.test\n    ports: [{}]\n", origin.port());
    let setup = Setup::start(origin.ca(), &policy, &["--resolve", &resolve(&origin)]).await;
    let denials = "sandgate_decisions_total{code=\"address_not_allowed\",verdict=\"denied\"}";
    let fetched = setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap();
    assert_eq!(fetched.status, 403);
    let line = setup.sidecar.wait_for_audit(|line| line["kind"] == "request", DEADLINE).await;
    assert_eq!((&line["verdict"], &line["code"]), (&"denied".into(), &"address_not_allowed".into()));
    assert_eq!((&line["status"], &line["rule"]), (&403.into(), &"origin".into()));
    assert_eq!(setup.metric(denials).await, Some(1.0));
}

#[tokio::test]
async fn a_tunnel_closed_without_a_response_has_the_rule_and_the_status_that_would_have_fitted() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let mut stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    assert_eq!(read_all(&mut stream, DEADLINE).await.bytes, b"");
    let line = setup.sidecar.wait_for_audit(|line| line["kind"] == "tunnel_end", DEADLINE).await;
    assert_eq!((&line["code"], &line["status"]), (&"unknown_protocol".into(), &400.into()));
    assert_eq!((&line["verdict"], &line["rule"]), (&"denied".into(), &"origin".into()));
}
