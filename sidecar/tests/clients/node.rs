//! Node 24: its own fetch and WebSocket, which use a proxy because `NODE_USE_ENV_PROXY` says so.

use crate::harness::{Bench, ZEN, tool};

const FETCH: &str = r#"
const response = await fetch(process.argv[2]);
process.stdout.write(await response.text());
"#;
const WEBSOCKET: &str = r#"
const socket = new WebSocket(process.argv[2]);
socket.onopen = () => socket.send("hello");
socket.onmessage = (event) => { console.log(event.data); socket.close(); };
socket.onerror = (event) => { console.error(event.error); process.exitCode = 1; };
"#;

async fn node(bench: &Bench, script: &str, url: &str) -> crate::harness::Finished {
    let (node, script) = (tool("node/bin/node"), bench.script("client.mjs", script));
    bench.run(&[&node, &script, url]).await
}

#[tokio::test]
async fn fetch_reaches_the_listed_host() {
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.listed());
    assert_eq!(bench.reached(node(&bench, FETCH, &url).await), ZEN);
}

#[tokio::test]
async fn websocket_talks_to_the_listed_host() {
    let bench = Bench::start().await;
    let url = format!("wss://{}/ws", bench.listed());
    assert_eq!(bench.reached(node(&bench, WEBSOCKET, &url).await), "hello\n");
}

/// Node shows nothing of a refused CONNECT, so only its failure and the summary can be looked at.
#[tokio::test]
async fn fetch_and_websocket_are_refused() {
    for (script, scheme, path) in [(FETCH, "https", "zen"), (WEBSOCKET, "wss", "ws")] {
        let bench = Bench::start().await;
        let url = format!("{scheme}://{}/{path}", bench.other());
        bench.refused(node(&bench, script, &url).await);
    }
}
