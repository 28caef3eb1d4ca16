//! wget, which knows the proxy from lower-case variables and the CA from its own wgetrc alone.

use crate::harness::{Bench, REASON, ZEN, assert_shows};

#[tokio::test]
async fn wget_reaches_the_listed_host() {
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.listed());
    assert_eq!(bench.reached(bench.run(&["wget", "-q", "-O", "-", &url]).await), ZEN);
}

#[tokio::test]
async fn wget_is_refused_and_shows_the_reason() {
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.other());
    let printed = bench.refused(bench.run(&["wget", "--tries=1", "-O", "-", &url]).await);
    assert_shows(&printed, &[&format!("Proxy tunneling failed: {REASON}")]);
}
