//! Python's clients: the standard library, requests, httpx, websockets and gRPC.

use serde_json::Value;

use crate::harness::{Bench, Finished, REASON, ZEN, assert_shows, python};

const REQUESTS: &str = "import sys, requests; print(requests.get(sys.argv[1]).text, end='')";
const URLLIB: &str = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end='')";
const HTTPX: &str = "import sys, httpx; print(httpx.get(sys.argv[1]).text, end='')";
const HTTPX_H2: &str = r#"
import sys, httpx
with httpx.Client(http2=True) as client:
    response = client.get(sys.argv[1])
    print(response.http_version, response.text, end="")
"#;
const WEBSOCKETS: &str = r#"
import asyncio, sys
from websockets.asyncio.client import connect
async def main():
    async with connect(sys.argv[1]) as socket:
        await socket.send("hello")
        print(await socket.recv())
asyncio.run(main())
"#;
/// Its other client, which shows more of a refused CONNECT. Over TLS it hangs now and then, with or without a proxy: two
/// threads use the connection at once.
const WEBSOCKETS_IN_THREADS: &str = r#"
import sys
from websockets.sync.client import connect
with connect(sys.argv[1]) as socket:
    pass
"#;
/// Messages are plain bytes, so nothing is generated.
const GRPC: &str = r#"
import sys, grpc
same = lambda message: message
with grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials()) as channel:
    call = lambda kind, name: getattr(channel, kind)(f"/sandgate.test.Echo/{name}", same, same)
    print(call("unary_unary", "Unary")(b"one", timeout=30))
    print(list(call("unary_stream", "ServerStream")(b"two", timeout=30)))
    print(list(call("stream_stream", "BidiStream")(iter([b"three", b"four"]), timeout=30)))
    try:
        call("unary_unary", "Fail")(b"five", timeout=30)
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"#;
const REFUSED_CALLS: &str = r#"
import sys, grpc
same = lambda message: message
with grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials()) as channel:
    for kind, argument in [("unary_unary", b"one"), ("unary_stream", b"two"), ("stream_stream", iter([b"three"] * 9))]:
        try:
            list(getattr(channel, kind)("/sandgate.test.Echo/BidiStream", same, same)(argument, timeout=30))
        except grpc.RpcError as error:
            print(error.code().name, error.details())
"#;
const REFUSED_WEBSOCKET: &str = r#"
import asyncio, sys
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
async def main():
    try:
        await connect(sys.argv[1])
    except InvalidStatus as error:
        print(error, error.response.reason_phrase, error.response.body.decode(), sep="\n")
asyncio.run(main())
"#;
/// What a client may do with the answer to its CONNECT and hardly one does: read all of it.
const RAW: &str = r#"
import os, socket, sys
from urllib.parse import urlsplit
proxy = urlsplit(os.environ["HTTPS_PROXY"])
with socket.create_connection((proxy.hostname, proxy.port)) as connection:
    connection.sendall(f"CONNECT {sys.argv[1]} HTTP/1.1\r\nHost: {sys.argv[1]}\r\nConnection: close\r\n\r\n".encode())
    answer, length = b"", 0
    while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < length:
        piece = connection.recv(65536)
        assert piece, "the answer is cut short"
        answer += piece
        length = int((answer + b"content-length: 0").split(b"content-length: ")[1].split()[0])
head, body = answer.split(b"\r\n\r\n", 1)
print(body.decode())
print(head.decode(), file=sys.stderr)
sys.exit(3)
"#;

async fn run(bench: &Bench, script: &str, url: &str) -> Finished {
    let (python, script) = (python(), bench.script("client.py", script));
    bench.run(&[&python, &script, url]).await
}

#[tokio::test]
async fn http_clients_reach_the_listed_host() {
    for script in [REQUESTS, URLLIB, HTTPX] {
        let bench = Bench::start().await;
        let url = format!("https://{}/zen", bench.listed());
        assert_eq!(bench.reached(run(&bench, script, &url).await), ZEN, "{script}");
    }
}

#[tokio::test]
async fn http_clients_are_refused_and_show_the_reason() {
    for script in [REQUESTS, URLLIB, HTTPX, HTTPX_H2] {
        let bench = Bench::start().await;
        let url = format!("https://{}/zen", bench.other());
        assert_shows(&bench.refused(run(&bench, script, &url).await), &[REASON]);
    }
}

#[tokio::test]
async fn httpx_speaks_http2() {
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.listed());
    assert_eq!(bench.reached(run(&bench, HTTPX_H2, &url).await), format!("HTTP/2 {ZEN}"));
}

#[tokio::test]
async fn websockets_talks_to_the_listed_host() {
    let bench = Bench::start().await;
    let url = format!("wss://{}/ws", bench.listed());
    assert_eq!(bench.reached(run(&bench, WEBSOCKETS, &url).await), "hello\n");
}

#[tokio::test]
async fn websockets_is_refused_and_shows_the_reason() {
    let bench = Bench::start().await;
    let url = format!("wss://{}/ws", bench.other());
    assert_shows(&bench.refused(run(&bench, WEBSOCKETS, &url).await), &["HTTP 403"]);
    assert_shows(&bench.refused(run(&bench, WEBSOCKETS_IN_THREADS, &url).await), &["HTTP 403", REASON]);
}

#[tokio::test]
async fn grpc_calls_and_streams() {
    let bench = Bench::start().await;
    let printed = bench.reached(run(&bench, GRPC, &bench.listed()).await);
    let expected = "b'one'\n[b'two', b'two', b'two']\n[b'three', b'four']\nFAILED_PRECONDITION asked to fail\n";
    assert_eq!(printed, expected);
}

/// gRPC shows the status alone.
#[tokio::test]
async fn grpc_is_refused_and_shows_the_status() {
    let bench = Bench::start().await;
    let printed = bench.refused(run(&bench, GRPC, &bench.other()).await);
    assert_shows(&printed, &["UNAVAILABLE", "HTTP proxy returned response code 403"]);
}

#[tokio::test]
async fn grpc_shows_which_rule_refused_a_call_and_what_to_add() {
    let bench = Bench::start().await;
    let script = bench.script("client.py", REFUSED_CALLS);
    let finished = bench.run_listing_zen(&[&python(), &script, &bench.listed()]).await;
    let add = "- {methods: [POST], paths: [\"/sandgate.test.Echo/BidiStream\"]}";
    let expected = format!(
        "PERMISSION_DENIED this method and path are not allowed on origin.test; use one that the rule lists, or ask whoever \
         runs this sandbox to add this one (request_not_allowed); rule: origin; to allow it, add to origin.allow: {add}\n"
    );
    assert_eq!(finished.stdout, expected.repeat(3), "{}", finished.stderr);
    assert_eq!(finished.summary["hosts"][0]["allow"], serde_json::json!([{"add": add, "to": "origin.allow"}]));
    assert_eq!(bench.origin.request_count(), 0);
}

/// Of a refusal inside the tunnel websockets shows the status alone; a program finds the rest in the exception.
#[tokio::test]
async fn websockets_has_the_reason_and_the_json_of_a_refusal_by_a_rule() {
    let bench = Bench::start().await;
    let script = bench.script("client.py", REFUSED_WEBSOCKET);
    let finished = bench.run_listing_zen(&[&python(), &script, &format!("wss://{}/ws", bench.listed())]).await;
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines[0], "server rejected WebSocket connection: HTTP 403", "{}", finished.stderr);
    assert_eq!(lines[1], "Forbidden: this method and path are not allowed on origin.test (request_not_allowed)");
    let body: Value = serde_json::from_str(lines[2]).unwrap();
    let allow = serde_json::json!({"add": "- {methods: [GET], paths: [\"/ws\"]}", "to": "origin.allow"});
    assert_eq!((&body["rule"], &body["allow"]), (&"origin".into(), &allow));
}

#[tokio::test]
async fn the_json_is_on_the_wire_of_a_refused_connect() {
    let bench = Bench::start().await;
    let finished = run(&bench, RAW, &bench.other()).await;
    let body: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(body["error"], "host_not_allowed");
    assert_eq!(body["host"], bench.other());
    assert_eq!(body["rule"], Value::Null);
    let add = format!("- {{id: other.test-{0}, host: other.test, ports: [{0}]}}", bench.origin.port());
    assert_eq!(body["allow"], serde_json::json!({"add": add, "to": "destinations"}));
    assert_shows(body["message"].as_str().unwrap(), &["other.test is not in the policy"]);
    let printed = bench.refused(finished);
    assert_shows(&printed, &[&format!("HTTP/1.1 403 {REASON}"), "content-type: application/json"]);
}
