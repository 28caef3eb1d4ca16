//! The program as a process: slow clients, its end, and the resources that run out.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use http::{Request, Response};
use nix::sys::signal::Signal;
use sandgate_testkit::client::{connect_through, eventually, http_get, raw, read_all, tunnel};
use sandgate_testkit::client::{empty_body, https_through};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::sidecar::{Sidecar, isolated};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::harness::{DEADLINE, PROGRAM, Setup, allow, resolve, start_origin, until, url};

/// The time limits of these tests: short beside [`DEADLINE`], so that it is they that end a wait.
const SHORT: &str = "300ms";

async fn setup(origin: &Origin, arguments: &[&str]) -> Setup {
    let resolve = resolve(origin);
    let all = [&["--resolve", &resolve], arguments].concat();
    Setup::start(origin.ca(), &allow(origin), &all).await
}

fn authority(origin: &Origin) -> String {
    format!("origin.test:{}", origin.port())
}

/// Writes a byte every 20 ms until the peer closes.
async fn dribble(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let closed = tokio::time::timeout(DEADLINE, async {
        for byte in bytes.iter().cycle() {
            ticks.tick().await;
            if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    });
    closed.await.expect("a client that dribbles is closed");
}

#[tokio::test]
async fn a_slow_connect_head_times_out() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--connect-head-timeout", SHORT]).await;
    for start in ["", "CONNECT origin.test:443 HTTP/1.1\r\nHost: ori", "GET http://a.test/ HTTP/1.1\r\n"] {
        assert!(raw(setup.sidecar.proxy(), start.as_bytes(), DEADLINE).await.unwrap().closed, "{start:?}");
    }
    let mut stream = TcpStream::connect(setup.sidecar.proxy()).await.unwrap();
    stream.write_all(b"CONNECT origin.test:443 HTTP/1.1\r\nX: ").await.unwrap();
    dribble(&mut stream, b"x").await;
    setup.wait_for_metric("sandgate_open_connections", |open| open == 0.0).await;
}

#[tokio::test]
async fn a_slow_tls_handshake_times_out() {
    let origin = start_origin().await;
    let passthrough = format!("{}    tls: passthrough\n", allow(&origin));
    for rule in [allow(&origin), passthrough] {
        let setup = Setup::start(origin.ca(), &rule, &["--handshake-timeout", SHORT]).await;
        for start in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
            let mut stream = tunnel(setup.sidecar.proxy(), &authority(&origin)).await.unwrap();
            stream.write_all(start).await.unwrap();
            assert!(read_all(&mut stream, DEADLINE).await.closed, "{start:?}");
        }
        setup.sidecar.wait_for_audit(|line| line["code"] == "client_timeout", DEADLINE).await;
        setup.wait_for_metric("sandgate_open_connections", |open| open == 0.0).await;
    }
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn a_slow_head_in_a_tunnel_times_out_be_it_the_first_or_a_later_one() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--inner-head-timeout", SHORT]).await;
    for start in ["", "GET /zen HTTP/1.1\r\nHost: ori"] {
        let mut stream = setup.tls_stream(&origin).await;
        stream.write_all(start.as_bytes()).await.unwrap();
        assert!(read_all(&mut stream, DEADLINE).await.closed, "{start:?}");
    }
    let request = format!("GET /zen HTTP/1.1\r\nHost: {}\r\n\r\n", authority(&origin));
    let mut stream = setup.tls_stream(&origin).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    origin.wait_for_requests(1, DEADLINE).await;
    stream.write_all(b"GET /zen HTTP/1.1\r\nX: ").await.unwrap();
    dribble(&mut stream, b"x").await;
    assert_eq!(origin.request_count(), 1);
}

#[tokio::test]
async fn a_slow_client_of_the_health_port_times_out() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--admin-timeout", SHORT]).await;
    for start in ["", "GET /healthz HTTP/1.1\r\nHost: "] {
        assert!(raw(setup.sidecar.admin(), start.as_bytes(), DEADLINE).await.unwrap().closed, "{start:?}");
    }
}

#[tokio::test]
async fn an_http2_client_that_says_nothing_after_its_handshake_is_closed() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--inner-head-timeout", SHORT]).await;
    for preface in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"PRI * HT"] {
        let stream = tunnel(setup.sidecar.proxy(), &authority(&origin)).await.unwrap();
        let mut stream = setup.client_tls().alpn(&["h2"]).handshake("origin.test", stream).await.unwrap();
        stream.write_all(preface).await.unwrap();
        assert!(read_all(&mut stream, DEADLINE).await.closed, "{preface:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_lives_longer_than_a_slow_head_and_has_an_end_too() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--inner-head-timeout", SHORT, "--client-idle-timeout", "1500ms"]).await;
    let request = format!("GET /zen HTTP/1.1\r\nHost: {}\r\n\r\n", authority(&origin));
    let mut stream = setup.tls_stream(&origin).await;
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let reply = read_all(&mut stream, Duration::from_millis(700)).await;
        assert!(!reply.closed && reply.text().starts_with("HTTP/1.1 200 "), "{reply:?}");
    }
    assert!(read_all(&mut stream, DEADLINE).await.closed);
    let mut client = setup.http2_client(&origin).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    setup.wait_for_metric("sandgate_open_connections", |open| open == 0.0).await;
    assert!(client.get(&url(&origin, "/zen")).await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_everything_unread_is_closed() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--client-read-timeout", SHORT]).await;
    // A body from the origin, and refusals that are made here.
    let mut client = setup.client(&origin).await;
    let request = Request::get(url(&origin, "/bytes/500000000")).body(empty_body()).unwrap();
    let _unread = client.open(request).await.unwrap();
    let mut flood = TcpStream::connect(setup.sidecar.proxy()).await.unwrap();
    let refused = "GET http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\n\r\n".repeat(100);
    let written = async { while flood.write_all(refused.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, written).await.expect("it is closed");
    setup.sidecar.wait_for_audit(|line| line["kind"] == "request", DEADLINE).await;
    setup.wait_for_metric("sandgate_open_connections", |open| open == 0.0).await;
}

/// Takes some 10 s: the sweep that finds the stream runs every five, and it has five to end by itself.
#[tokio::test]
async fn an_http2_stream_whose_client_opens_no_window_ends_after_the_idle_time() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--idle-body-timeout", SHORT]).await;
    let mut client = setup.http2_client(&origin).await;
    let request = Request::get(url(&origin, "/bytes/500000000")).body(empty_body()).unwrap();
    let _unread = client.open(request).await.unwrap();
    setup.sidecar.wait_for_audit(|line| line["code"] == "idle_timeout", DEADLINE).await;
    setup.wait_for_metric("sandgate_open_connections", |open| open == 0.0).await;
}

#[tokio::test]
async fn after_sigterm_it_is_not_ready_serves_on_and_ends_when_it_is_quiet() {
    let origin = start_origin().await;
    let mut setup = setup(&origin, &["--drain-quiet", "500ms", "--drain-grace", "60s"]).await;
    let mut open = setup.client(&origin).await;
    assert_eq!(setup.readyz().await.0, 200);
    setup.sidecar.signal(Signal::SIGTERM);
    until("/readyz", async || setup.readyz().await.0 == 503).await;
    assert_eq!(http_get(setup.sidecar.admin(), "/healthz").await.unwrap().status, 200);
    let mut new = setup.client(&origin).await;
    for client in [&mut open, &mut new] {
        assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    }
    drop((open, new));
    assert_eq!(setup.sidecar.wait_exit(DEADLINE).await.code(), Some(0));
    let lines = setup.sidecar.audit_lines();
    assert_eq!(lines.iter().filter(|line| line["kind"] == "request").count(), 2, "the last lines are written");
}

#[tokio::test]
async fn the_grace_ends_a_shutdown_that_an_open_stream_holds_up() {
    let origin = start_origin().await;
    let mut setup = setup(&origin, &["--drain-grace", "500ms"]).await;
    let mut client = setup.client(&origin).await;
    let request = Request::get(url(&origin, "/sse")).body(empty_body()).unwrap();
    let _open = client.open(request).await.unwrap();
    setup.sidecar.signal(Signal::SIGTERM);
    assert_eq!(setup.sidecar.wait_exit(DEADLINE).await.code(), Some(0));
}

/// The program behind a shell that prepares what a parent can prepare.
async fn through_shell(origin: &Origin, prepare: &str, arguments: &[&str]) -> (Sidecar, tempfile::TempDir) {
    let (command, dir) = shell(origin, prepare, arguments);
    (Sidecar::start_command(command).await, dir)
}

fn shell(origin: &Origin, prepare: &str, arguments: &[&str]) -> (Command, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    origin.ca().write_root(&dir.path().join("roots.pem"));
    std::fs::write(path("policy.yaml"), format!("version: 1\ndestinations:\n{}", allow(origin)))
        .expect("the files are written");
    std::fs::create_dir(path("trust")).expect("the files are written");
    let mut command = isolated("sh", &[]);
    command.args(["-c", &format!("{prepare} exec \"$@\"")]);
    command.args(["sh", PROGRAM, "serve", "--no-env", "--ca", "generate", "--listen", "127.0.0.1:0"]);
    command.args(["--admin-listen", "127.0.0.1:0", "--policy", &path("policy.yaml"), "--trust-dir", &path("trust")]);
    command.args(["--upstream-ca", &path("roots.pem"), "--resolve", &resolve(origin)]).args(arguments);
    (command, dir)
}

async fn fetch(sidecar: &Sidecar, dir: &tempfile::TempDir, origin: &Origin) -> std::io::Result<u16> {
    let tls = sandgate_testkit::client::ClientTls::new(&std::fs::read_to_string(dir.path().join("trust/ca.crt"))?);
    let mut client = https_through(sidecar.proxy(), "origin.test", origin.port(), &tls).await?;
    Ok(client.get(&url(origin, "/zen")).await?.status.as_u16())
}

#[tokio::test]
async fn with_few_file_descriptors_clients_wait_and_the_health_port_does_not() {
    let origin = start_origin().await;
    let (sidecar, dir) = through_shell(&origin, "ulimit -n 64;", &["--connect-head-timeout", "60s"]).await;
    assert!(sidecar.stderr().contains("fewer client connections"), "{}", sidecar.stderr());
    let mut hoard = Vec::new();
    for _ in 0..120 {
        hoard.push(TcpStream::connect(sidecar.proxy()).await.unwrap());
    }
    for _ in 0..5 {
        assert_eq!(http_get(sidecar.admin(), "/healthz").await.unwrap().status, 200);
    }
    drop(hoard);
    until("a request", async || fetch(&sidecar, &dir, &origin).await.is_ok_and(|status| status == 200)).await;
    assert!(!sidecar.stderr().contains("could not be accepted"), "{}", sidecar.stderr());
}

#[tokio::test]
async fn streams_that_use_up_all_connections_to_origins_are_503_and_the_health_port_answers() {
    let origin = Origin::builder().protocols(Protocols::Http1).start().await;
    let arguments = ["--dial-timeout", "1s", "--first-byte-timeout", "60s"];
    let (sidecar, dir) = through_shell(&origin, "ulimit -n 128;", &arguments).await;
    let ca = std::fs::read_to_string(dir.path().join("trust/ca.crt")).unwrap();
    let tls = sandgate_testkit::client::ClientTls::new(&ca).alpn(&["h2"]);
    let mut client = https_through(sidecar.proxy(), "origin.test", origin.port(), &tls).await.unwrap();
    let mut streams = Vec::new();
    let is_refused = |stream: &Response<_>| stream.status() == 503;
    while streams.len() < 100 && streams.iter().filter(|stream| is_refused(stream)).count() < 3 {
        let request = Request::get(url(&origin, "/sse")).body(empty_body()).unwrap();
        streams.push(client.open(request).await.unwrap());
    }
    assert!(streams.len() > 10 && streams.len() < 60, "{} connections", streams.len());
    let refusal = streams.iter().find(|stream| is_refused(stream)).unwrap();
    assert_eq!(refusal.headers()["retry-after"], "1");
    for _ in 0..5 {
        assert_eq!(http_get(sidecar.admin(), "/healthz").await.unwrap().status, 200);
    }
    let metrics = http_get(sidecar.admin(), "/metrics").await.unwrap().text();
    let line = metrics.lines().find(|line| line.starts_with("sandgate_descriptor_exhaustion_total ")).unwrap();
    assert!(!line.ends_with(" 0"), "{line}");
    drop((streams, client));
    until("a request", async || fetch(&sidecar, &dir, &origin).await.is_ok_and(|status| status == 200)).await;
}

#[tokio::test]
async fn a_stderr_that_nobody_reads_stops_nothing() {
    let origin = start_origin().await;
    let (mut command, dir) = shell(&origin, "", &["--log-level", "info,h2=trace"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = loop {
        let line = lines.next_line().await.unwrap().expect("it says where it listens");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "ready" {
            break line;
        }
    };
    let address = |name: &str| ready[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
    let (proxy, admin) = (address("proxy"), address("admin"));
    let ca = std::fs::read_to_string(dir.path().join("trust/ca.crt")).unwrap();
    let tls = sandgate_testkit::client::ClientTls::new(&ca).alpn(&["h2"]);
    let mut client = https_through(proxy, "origin.test", origin.port(), &tls).await.unwrap();
    // Some tens of lines each: far more than pipe and queue hold.
    for _ in 0..200 {
        let fetched = tokio::time::timeout(DEADLINE, client.get(&url(&origin, "/zen"))).await;
        assert_eq!(fetched.expect("nothing waits for the log").unwrap().status, 200);
    }
    let health = tokio::time::timeout(DEADLINE, http_get(admin, "/healthz")).await;
    assert_eq!(health.expect("nothing waits for the log").unwrap().status, 200);
    let lost = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: serde_json::Value = serde_json::from_str(&line).expect("lines are whole");
            if let Some(lost) = line["lost"].as_u64() {
                return lost;
            }
        }
        0
    };
    assert!(tokio::time::timeout(DEADLINE, lost).await.expect("the loss is told") > 0);
}

#[tokio::test]
async fn connections_beyond_the_most_wait_for_their_turn() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--max-connections", "2"]).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(tunnel(setup.sidecar.proxy(), &authority(&origin)).await.unwrap());
    }
    let (proxy, target) = (setup.sidecar.proxy(), authority(&origin));
    let mut third = tokio::spawn(async move { connect_through(proxy, &target).await.unwrap().0.status });
    assert!(
        tokio::time::timeout(Duration::from_millis(500), &mut third).await.is_err(),
        "it was not to be answered yet"
    );
    held.pop();
    assert_eq!(tokio::time::timeout(DEADLINE, third).await.expect("it has its turn").unwrap(), 200);
}

#[tokio::test]
async fn a_stdout_that_is_full_or_closed_does_not_stop_it() {
    let origin = start_origin().await;
    for prepare in ["exec >/dev/full;", "exec >&-;"] {
        let (sidecar, dir) = through_shell(&origin, prepare, &["--audit-queue", "5"]).await;
        for _ in 0..30 {
            assert_eq!(fetch(&sidecar, &dir, &origin).await.unwrap(), 200, "{prepare}");
        }
        let metrics = http_get(sidecar.admin(), "/metrics").await.unwrap().text();
        let lost = metrics.lines().find_map(|line| line.strip_prefix("sandgate_audit_lost_total ")).unwrap();
        assert!(lost.parse::<f64>().unwrap() > 0.0, "{prepare}: the loss is counted");
        assert!(!sidecar.stderr().contains("panicked"), "{}", sidecar.stderr());
    }
}

/// Takes some 10 s: what is free goes back with the next sweep, which runs every five.
#[tokio::test]
async fn a_thousand_tunnels_that_are_gone_leave_no_memory_behind() {
    let origin = start_origin().await;
    let setup = setup(&origin, &[]).await;
    let tls = setup.client_tls();
    drop(setup.tls_stream(&origin).await);
    let before = setup.sidecar.own_rss_kib();
    for _ in 0..2 {
        let mut tunnels = JoinSet::new();
        for _ in 0..1000 {
            let (proxy, target, tls) = (setup.sidecar.proxy(), authority(&origin), tls.clone());
            tunnels.spawn(async move { tls.handshake("origin.test", tunnel(proxy, &target).await?).await });
        }
        let mut open = Vec::new();
        while let Some(tunnel) = tunnels.join_next().await {
            open.push(tunnel.unwrap().unwrap());
        }
        setup.wait_for_metric("sandgate_open_tunnels{kind=\"intercepted\"}", |open| open == 1000.0).await;
        let during = setup.sidecar.own_rss_kib();
        drop(open);
        setup.wait_for_metric("sandgate_open_connections", |open| open == 0.0).await;
        let near = before + (during - before) / 3;
        until(&format!("RSS near {before} KiB after {during}"), async || setup.sidecar.own_rss_kib() < near).await;
    }
}

#[tokio::test]
async fn two_workers_serve_many_clients_at_once() {
    let origin = start_origin().await;
    let setup = setup(&origin, &["--workers", "2"]).await;
    let mut clients = JoinSet::new();
    for number in 0..40 {
        let mut client = if number % 2 == 0 { setup.client(&origin).await } else { setup.http2_client(&origin).await };
        let target = url(&origin, "/echo");
        clients.spawn(async move {
            for _ in 0..25 {
                assert_eq!(client.post(&target, vec![b'x'; 10_000]).await.unwrap().json()["body_bytes"], 10_000);
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(origin.request_count(), 1000);
    eventually(DEADLINE, || {
        setup.sidecar.audit_lines().iter().filter(|line| line["kind"] == "request").count() == 1000
    })
    .await;
}
