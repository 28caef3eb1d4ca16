//! An origin for tests in a cluster: `kind-origin NAME...` serves TLS on 8443, with a certificate for the names from a root
//! that it makes and prints first, and plain HTTP on 8080; then it prints each request, method and target, as it comes.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Context as _;
use sandgate_testkit::origin::{Origin, Protocols};
use tokio::signal::unix::{SignalKind, signal};

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!(!names.is_empty(), "usage: kind-origin NAME...");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let tls = Origin::builder().names(&names).address(everywhere).port(8443).start().await;
    let plain = Origin::builder().protocols(Protocols::Plain).address(everywhere).port(8080).start().await;
    std::io::stdout().write_all(tls.ca().root_pem().as_bytes()).context("cannot print the root")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        failed = print_requests(&tls, "https") => failed,
        failed = print_requests(&plain, "http") => failed,
        _ = terminate.recv() => Ok(()),
    }
}

async fn print_requests(origin: &Origin, scheme: &str) -> anyhow::Result<()> {
    for printed in 0.. {
        let requests = origin.wait_for_requests(printed + 1, FOREVER).await;
        let head = &requests[printed].head;
        writeln!(std::io::stdout(), "{scheme} {} {}", head.method, head.target).context("cannot print a request")?;
    }
    Ok(())
}
