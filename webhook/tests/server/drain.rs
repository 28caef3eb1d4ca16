//! The server's end: what runs is finished, what is open is told, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sandgate_testkit::client::{Client, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{DEADLINE, answered, config, pod, post, request, review, start};

fn is_closed(client: &Client) -> bool {
    match client {
        Client::Http1(sender) | Client::Http1Proxy(sender) => sender.is_closed(),
        Client::Http2(sender) => sender.is_closed(),
    }
}

#[tokio::test]
async fn open_connections_are_told_and_a_request_that_runs_is_finished() {
    let webhook = start(config(|_| {}));
    let review = review(&pod());
    let mut used = [webhook.http1().await, webhook.http2().await];
    for client in &mut used {
        answered(&post(client, "/mutate/enabled", review.to_string()).await, &review);
    }
    let mut slow = webhook.connect_tls(&["http/1.1"]).await;
    let body = review.to_string();
    let head = format!(
        "POST /mutate/enabled HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.flush().await.unwrap();
    let address = webhook.address;
    let stopping = tokio::spawn(webhook.running.stop(DEADLINE));
    eventually(DEADLINE, || used.iter().all(is_closed)).await;
    assert!(!stopping.is_finished(), "a request runs");
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"allowed\":true"), "{answer}");
    assert!(stopping.await.unwrap(), "nothing was cut off");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn what_never_ends_is_cut_off_when_the_time_is_over() {
    let webhook = start(config(|_| {}));
    let mut slow = webhook.connect_tls(&["http/1.1"]).await;
    let head =
        "POST /mutate/enabled HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.flush().await.unwrap();
    assert!(!webhook.running.stop(Duration::from_millis(200)).await);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is still open");
}

/// A client that opens a connection whenever its last one was closed, as an API server does; a request that was refused
/// unprocessed (GOAWAY) may be sent again, one that was lost may not.
#[tokio::test(flavor = "multi_thread")]
async fn no_review_is_lost_while_the_server_ends() {
    let old = start(config(|_| {}));
    let new = Arc::new(start(config(|_| {})));
    let (tls, first) = (old.tls(), old.address);
    let (ending, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (tls, new) = (tls.clone(), Arc::clone(&new));
        let (ending, answers) = (Arc::clone(&ending), Arc::clone(&answers));
        clients.push(tokio::spawn(async move {
            let review = review(&pod());
            let mut on_old = 0;
            'connections: loop {
                let Ok(stream) = tokio::net::TcpStream::connect(first).await else { break };
                let Ok(stream) = tls.clone().alpn(&["h2"]).handshake(crate::harness::NAME, stream).await else { break };
                let mut client = Client::http2(stream).await.unwrap();
                loop {
                    if is_closed(&client) {
                        continue 'connections;
                    }
                    match client.fetch(request("/mutate/enabled", review.to_string())).await {
                        Ok(fetched) => drop(answered(&fetched, &review)),
                        Err(error) => {
                            let text = format!("{error:?}");
                            assert!(ending.load(Ordering::SeqCst), "lost before the end: {text}");
                            assert!(was_not_processed(&text), "lost: {text}");
                            continue 'connections;
                        }
                    }
                    on_old += 1;
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            }
            // The Service knows the other replica by now.
            new.ask("/mutate/enabled", &review).await;
            on_old
        }));
    }
    eventually(DEADLINE, || answers.load(Ordering::SeqCst) > 500).await;
    ending.store(true, Ordering::SeqCst);
    assert!(old.running.stop(DEADLINE).await);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

/// As an API server does it: HTTP/1.1, connections that are kept, and a review that is sent once whatever happens. The
/// Service gives new connections to the other replica as soon as this one drains.
#[tokio::test(flavor = "multi_thread")]
async fn no_review_over_http1_is_lost_for_its_connections_are_gone_before_the_end() {
    let old = start(config(|_| {}));
    let new = Arc::new(start(config(|_| {})));
    let drains = Arc::new(AtomicBool::new(false));
    let on = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    let ended = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (tls, addresses) = ([old.tls(), new.tls()], [old.address, new.address]);
        let (drains, on, ended) = (Arc::clone(&drains), on.clone(), Arc::clone(&ended));
        clients.push(tokio::spawn(async move {
            let review = review(&pod());
            while !ended.load(Ordering::SeqCst) {
                let replica = usize::from(drains.load(Ordering::SeqCst));
                let stream = tokio::net::TcpStream::connect(addresses[replica]).await.unwrap();
                let tls = tls[replica].clone().alpn(&["http/1.1"]);
                let stream = tls.handshake(crate::harness::NAME, stream).await.unwrap();
                let mut client = Client::http1(stream).await.unwrap();
                on[replica].fetch_add(1, Ordering::SeqCst);
                while !ended.load(Ordering::SeqCst) {
                    let fetched = client.fetch(request("/mutate/enabled", review.to_string())).await;
                    let fetched = fetched.expect("a review is never sent twice, so this one is lost");
                    answered(&fetched, &review);
                    if fetched.headers.get("connection").is_some_and(|value| value == "close") {
                        break;
                    }
                }
                on[replica].fetch_sub(1, Ordering::SeqCst);
            }
        }));
    }
    eventually(DEADLINE, || on[0].load(Ordering::SeqCst) == 8).await;
    drains.store(true, Ordering::SeqCst);
    old.running.drain();
    eventually(DEADLINE, || on[1].load(Ordering::SeqCst) == 8).await;
    assert_eq!(on[0].load(Ordering::SeqCst), 0);
    assert!(old.running.stop(DEADLINE).await);
    ended.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

/// What HTTP/2 says of a request that the server has not looked at, or that was never sent.
fn was_not_processed(error: &str) -> bool {
    ["REFUSED_STREAM", "NO_ERROR", "Canceled", "GoAway", "connection was not ready"]
        .iter()
        .any(|text| error.contains(text))
}
