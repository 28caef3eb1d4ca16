//! An HTTPS origin on loopback for demos: `demo-origin DIR [PORT]` writes `DIR/origin-root.pem`, prints its port on one
//! line, and runs until its standard input ends or SIGTERM or SIGINT arrives. For demos only, never for a network.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use sandgate_testkit::origin::Origin;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("usage: demo-origin DIR [PORT]")?);
    let port = arguments.next().map_or(Ok(0), |port| port.parse()).context("PORT is not a number from 0 to 65535")?;
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let origin = Origin::builder().port(port).start().await;
    origin.ca().write_root(&directory.join("origin-root.pem"));
    writeln!(std::io::stdout(), "{}", origin.port()).context("cannot print the port")?;
    until_told_to_stop().await
}

async fn until_told_to_stop() -> anyhow::Result<()> {
    let (sender, input_ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while input.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
        // The receiver is gone where a signal came first.
        let _ = sender.send(());
    });
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = input_ended => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
