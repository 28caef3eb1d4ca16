//! What one hostile pod can open, drip and hold, and a review is still answered.

use std::time::{Duration, Instant};

use sandgate_testkit::client::{Client, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{DEADLINE, NAME, Webhook, answered, config, pod, post, review, start};

/// How long the API server waits (`timeoutSeconds`).
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection from another address of loopback, as from another pod.
async fn connect_from(webhook: &Webhook, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, host], 0).into()).unwrap();
    socket.connect(webhook.address).await.unwrap()
}

async fn answered_in_time(webhook: &Webhook, what: &str) {
    let began = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, webhook.ask("/mutate/enabled", &review(&pod()))).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer while {what}"));
    assert_eq!(answer["allowed"], true, "{what}: {answer}, after {:?}", began.elapsed());
}

async fn flood(webhook: &Webhook, what: &str, hold: impl AsyncFn(TcpStream) -> TcpOrTls) -> Vec<TcpOrTls> {
    let mut held = Vec::new();
    for number in 0..2000 {
        held.push(hold(connect_from(webhook, 2).await).await);
        if number % 500 == 0 {
            answered_in_time(webhook, what).await;
        }
    }
    answered_in_time(webhook, what).await;
    held
}

/// What is held open.
enum TcpOrTls {
    Tcp { _stream: TcpStream },
    Tls { _stream: Box<tokio_rustls::client::TlsStream<TcpStream>> },
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_that_say_nothing_do_not_stop_a_review() {
    let webhook = start(config(|_| {}));
    let _held = flood(&webhook, "silent connections are open", async |stream| TcpOrTls::Tcp { _stream: stream }).await;
    let open = webhook.count("sandgate_webhook_open_connections");
    assert!(open <= 1100.0, "one address has a share only: {open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_half_handshakes_do_not_stop_a_review() {
    let webhook = start(config(|_| {}));
    let half = async |mut stream: TcpStream| {
        // The start of a ClientHello that never goes on.
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
        TcpOrTls::Tcp { _stream: stream }
    };
    let _held = flood(&webhook, "handshakes are half done", half).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_tls_connections_do_not_stop_a_review() {
    let webhook = start(config(|_| {}));
    let tls = webhook.tls().alpn(&["h2"]);
    let idle =
        async |stream: TcpStream| TcpOrTls::Tls { _stream: Box::new(tls.handshake(NAME, stream).await.unwrap()) };
    let _held = flood(&webhook, "TLS connections are idle", idle).await;
}

#[tokio::test]
async fn a_full_server_closes_the_longest_unused_connection_and_none_with_a_request() {
    let webhook = start(config(|server| server.max_connections = 8));
    // Two of eight are one address's share.
    let (mut first, mut second) = (webhook.http1().await, webhook.http1().await);
    let review = review(&pod());
    answered(&post(&mut second, "/mutate/enabled", review.to_string()).await, &review);
    answered(&post(&mut first, "/mutate/enabled", review.to_string()).await, &review);
    let mut third = webhook.http1().await;
    answered(&post(&mut third, "/mutate/enabled", review.to_string()).await, &review);
    assert_eq!(webhook.closed("evicted"), 1.0);
    answered(&post(&mut first, "/mutate/enabled", review.to_string()).await, &review);
    assert!(second.fetch(crate::harness::request("/mutate/enabled", review.to_string())).await.is_err());
}

#[tokio::test]
async fn a_request_whose_body_is_coming_is_not_cut_off_for_others() {
    let webhook = start(config(|server| server.max_connections = 4));
    // One of four is an address's share, and this one is in use.
    let mut stream = webhook.connect_tls(&["http/1.1"]).await;
    let body = review(&pod()).to_string();
    let head = format!(
        "POST /mutate/enabled HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    // The server asks for the body, so the request is in flight.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    for _ in 0..10 {
        // Closed before its handshake: an end or a reset.
        assert_eq!(webhook.connect().await.read(&mut [0]).await.unwrap_or(0), 0);
    }
    assert_eq!((webhook.closed("refused_share"), webhook.closed("evicted")), (10.0, 0.0));
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = vec![0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_handshake_a_first_head_and_a_body_each_have_their_time() {
    let short = Duration::from_millis(300);
    let webhook = start(config(|server| (server.handshake_timeout, server.request_timeout) = (short, short)));
    let mut silent = webhook.connect().await;
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(webhook.closed("handshake_timeout"), 1.0);

    for (alpn, start_of_head) in [("http/1.1", &b"POST /mutate/enabled HTTP/1.1\r\nHost: "[..]), ("h2", b"PRI * HT")] {
        let mut slow = webhook.connect_tls(&[alpn]).await;
        slow.write_all(start_of_head).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(DEADLINE, slow.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{alpn}: the connection is still open");
    }
    assert_eq!(webhook.closed("idle"), 2.0);

    let mut slow = webhook.connect_tls(&["http/1.1"]).await;
    let head =
        "POST /mutate/enabled HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(webhook.rejected("body_timeout"), 1.0);
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_used_one_stays() {
    let idle = Duration::from_millis(500);
    let webhook = start(config(|server| server.idle_timeout = idle));
    let review = review(&pod());
    for protocol in ["http/1.1", "h2"] {
        let stream = webhook.connect_tls(&[protocol]).await;
        let mut client = Client::over_tls(stream).await.unwrap();
        let began = Instant::now();
        while began.elapsed() < 2 * idle {
            answered(&post(&mut client, "/mutate/enabled", review.to_string()).await, &review);
        }
        eventually(DEADLINE, || match &client {
            Client::Http1(sender) | Client::Http1Proxy(sender) => sender.is_closed(),
            Client::Http2(sender) => sender.is_closed(),
        })
        .await;
    }
    assert_eq!(webhook.closed("idle"), 2.0);
}

#[tokio::test]
async fn a_body_that_ends_early_is_counted_and_no_more() {
    let webhook = start(config(|_| {}));
    let mut stream = webhook.connect_tls(&["http/1.1"]).await;
    let head =
        "POST /mutate/enabled HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    eventually(DEADLINE, || webhook.rejected("body_broken") + webhook.closed("http") >= 1.0).await;
    answered_in_time(&webhook, "a body ended early").await;
}
