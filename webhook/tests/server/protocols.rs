//! What an API server, or a curl of an admin's, may speak.

use rustls::version::{TLS12, TLS13};
use sandgate_testkit::client::{Client, ClientTls};

use crate::harness::{NAME, answered, config, pod, post, review, start};

#[tokio::test]
async fn one_http1_connection_serves_many_reviews() {
    let webhook = start(config(|_| {}));
    let (mut client, review) = (webhook.http1().await, review(&pod()));
    for _ in 0..50 {
        let answer = answered(&post(&mut client, "/mutate/enabled", review.to_string()).await, &review);
        assert_eq!((&answer["allowed"], &answer["patchType"]), (&true.into(), &"JSONPatch".into()));
    }
    assert_eq!(webhook.count("sandgate_webhook_open_connections"), 1.0);
}

#[tokio::test]
async fn one_http2_connection_serves_reviews_at_the_same_time() {
    let webhook = start(config(|_| {}));
    let Client::Http2(sender) = webhook.http2().await else { panic!("ALPN chose another protocol") };
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::Http2(sender.clone());
            tokio::spawn(async move {
                let review = review(&pod());
                answered(&post(&mut client, "/mutate/required", review.to_string()).await, &review)["allowed"].take()
            })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), true);
    }
    assert_eq!(webhook.count("sandgate_webhook_open_connections"), 1.0);
    let series = "sandgate_webhook_admission_duration_seconds_count{path=\"mutate\"}";
    assert_eq!(webhook.count(series), 100.0);
}

#[tokio::test]
async fn tls_is_1_2_or_1_3_and_without_alpn_it_is_http1() {
    let webhook = start(config(|_| {}));
    for version in [&TLS12, &TLS13] {
        let tls = ClientTls::with_versions(&webhook.ca_pem(), &[version]);
        let stream = tls.handshake(NAME, webhook.connect().await).await.unwrap();
        let mut client = Client::http1(stream).await.unwrap();
        let review = review(&pod());
        answered(&post(&mut client, "/validate/enabled", review.to_string()).await, &review);
    }
}

#[tokio::test]
async fn plain_http_and_garbage_end_the_connection_and_nothing_else() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let webhook = start(config(|_| {}));
    for bytes in
        [&b"POST /mutate/enabled HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x00\x01\x02\x03\x04\x05", b"\x16\x03\x01"]
    {
        let mut stream = webhook.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // An alert, a reset or nothing.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    webhook.ask("/mutate/enabled", &review(&pod())).await;
    assert_eq!(webhook.closed("handshake_failed"), 3.0);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let webhook = start(config(|_| {}));
    let stranger = ClientTls::new(&sandgate_testkit::pki::TestCa::new().root_pem());
    stranger.handshake(NAME, webhook.connect().await).await.unwrap_err();
    let counted = || webhook.closed("handshake_failed") + webhook.closed("http") >= 1.0;
    sandgate_testkit::client::eventually(crate::harness::DEADLINE, counted).await;
}
