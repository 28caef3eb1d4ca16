//! `make clients`: every client of the table behind the proxy, in a network namespace of its own, and what became of
//! it.
//!
//! It runs as root in a network namespace that `clients/run` made for it: it makes links, and listens on well-known
//! ports.

mod catalogue;
mod client;
mod committed;
mod decoy;
mod exceptions;
mod outcome;
mod page;
mod places;
mod report;
mod round_trip;
mod space;
mod stage;
mod versions;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::committed::Committed;
use crate::places::Places;
use crate::report::{Row, say};
use crate::stage::Stage;
use crate::versions::Versions;

/// More than there are cores: many of them mostly wait, before they try again what was refused.
const AT_ONCE: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    all().await.unwrap_or_else(|error| {
        say(&format!("clients: {error:#}"));
        ExitCode::FAILURE
    })
}

async fn all() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<Client> =
        catalogue::clients().filter(|client| words.iter().all(|word| client.name.contains(word))).collect();
    ensure!(!wanted.is_empty(), "no client has {words:?} in its name; all of them are in docs/clients.md");
    let places = Arc::new(Places::find()?);
    let committed = Arc::new(Committed::read(&places)?);
    let versions = Versions::read(&places)?;
    let rows = run(&places, versions, &committed, wanted).await?;
    let is_whole = words.is_empty();
    let worse = committed.compare(&rows, is_whole);
    // Who writes the page anew looks at its diff.
    let mut worse = if page::is_updated() { 0 } else { worse };
    for row in rows.iter().filter(|row| !page::explains(row)) {
        say(&format!("UNEXPLAINED: {}: clients/src/catalogue has to say why, and what helps", row.client.name));
        worse += 1;
    }
    if is_whole {
        worse += round_trip::run(&places).await?;
        page::write(&places, &rows)?;
    }
    say(&format!("\n{} passed, {worse} failed", rows.len().saturating_sub(worse)));
    Ok(if worse == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the clients, some at once, and returns their rows in the order of the catalogue.
async fn run(
    places: &Arc<Places>,
    versions: Versions,
    committed: &Arc<Committed>,
    clients: Vec<Client>,
) -> anyhow::Result<Vec<Row>> {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let mut numbered: Vec<(u8, Client)> = (1..).zip(clients).collect();
    // Those that take longest begin first.
    numbered.sort_by_key(|(_, client)| !client.slow);
    for (number, client) in numbered {
        let (places, committed, permits) = (Arc::clone(places), Arc::clone(committed), Arc::clone(&permits));
        let version = versions.of(&client, &places)?;
        tasks.spawn(async move {
            let _permit = permits.acquire().await?;
            let stage = Stage::build(&places, number).await?;
            let mut row = Row::new(number, client, version.clone(), &stage).await.context(client.name)?;
            if committed.is_to_be_tried_again(&row) {
                row.show();
                say(&format!("AGAIN: {}", client.name));
                row = Row::new(number, client, version, &stage).await.context(client.name)?;
            }
            anyhow::Ok(row)
        });
    }
    let mut rows = Vec::new();
    while let Some(row) = tasks.join_next().await {
        let row = row??;
        row.show();
        rows.push(row);
    }
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}
