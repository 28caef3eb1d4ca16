//! Long bodies leave the sidecar's memory flat, in both directions, over both protocols, and whether their length is
//! announced or not. `scripts/measure-memory` does the same with ten gibibytes.

use http::Request;
use sandgate_testkit::client::{Client, consume, empty_body, https_through, pattern_body};
use sandgate_testkit::origin::{Origin, Protocols};

use crate::harness::{Setup, allow, resolve};

/// Fills buffers, windows and pools.
const WARM_UP: u64 = 64 << 20;
/// A body that was held would show in this by far, and it takes seconds in the development profile.
const LONG: u64 = 256 << 20;
/// A body without a `Content-Length`: in chunks over HTTP/1.1, in frames alone over HTTP/2.
const UNANNOUNCED: u64 = 100 << 20;
/// What may be left at the end beyond what the warm-up left.
const ALLOWED_GROWTH_KIB: u64 = 4 << 10;
/// What may be there on the way: the allocator gives back what a burst took a little later. A body that was held is
/// sixteen times as much.
const ALLOWED_PEAK_KIB: u64 = 16 << 10;

async fn down(client: &mut Client, base: &str, length: u64, announced: bool) {
    let route = if announced { "bytes" } else { "chunked" };
    let request = Request::get(format!("{base}/{route}/{length}")).body(empty_body()).expect("a valid request");
    let response = client.open(request).await.expect("a response");
    assert_eq!(response.headers().contains_key("content-length"), announced);
    assert_eq!(consume(response.into_body(), |_| {}).await.expect("the whole body").bytes, length);
}

async fn up(client: &mut Client, base: &str, length: u64, announced: bool) {
    let request =
        Request::post(format!("{base}/upload?hash=no")).body(pattern_body(length, announced)).expect("a valid request");
    assert_eq!(client.fetch(request).await.expect("a response").json()["body_bytes"], length);
}

/// The origin speaks `protocol` too, so that chunks stay chunks.
async fn memory_stays_flat(protocol: &str, protocols: Protocols) {
    let origin = Origin::builder().protocols(protocols).start().await;
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let tls = setup.client_tls().alpn(&[protocol]);
    let mut client = https_through(setup.sidecar.proxy(), "origin.test", origin.port(), &tls).await.expect("a tunnel");
    assert_eq!(client.is_http2(), protocol == "h2");
    let base = format!("https://origin.test:{}", origin.port());
    down(&mut client, &base, WARM_UP, true).await;
    up(&mut client, &base, WARM_UP, true).await;
    let before = setup.sidecar.rss_kib();
    for (length, announced) in [(LONG, true), (UNANNOUNCED, false)] {
        down(&mut client, &base, length, announced).await;
        up(&mut client, &base, length, announced).await;
    }
    let framed = |name| origin.requests().iter().filter(|seen| seen.head.header(name).is_some()).count();
    let chunked = if protocols == Protocols::Http1 { 1 } else { 0 };
    assert_eq!((framed("content-length"), framed("transfer-encoding")), (2, chunked), "as the client framed them");
    let (after, peak) = (setup.sidecar.rss_kib(), setup.sidecar.peak_rss_kib());
    assert!(after <= before + ALLOWED_GROWTH_KIB, "{before} KiB after the first bodies, {after} KiB at the end");
    assert!(peak <= before + ALLOWED_PEAK_KIB, "{before} KiB after the first bodies, {peak} KiB at the peak");
}

#[tokio::test]
async fn memory_is_flat_over_http1() {
    memory_stays_flat("http/1.1", Protocols::Http1).await;
}

#[tokio::test]
async fn memory_is_flat_over_http2() {
    memory_stays_flat("h2", Protocols::Http2).await;
}
