//! `make bench`: Sandgate and its peers side by side, and what they cost.
//!
//! It runs as root in a network namespace that `bench/run` made for it, where all names and addresses are its own. Itself and
//! the origin keep off the proxies' core.

#![allow(clippy::cast_precision_loss, reason = "figures of a benchmark")]

mod choice;
mod column;
mod floor;
mod ground;
mod instructions;
mod load;
mod measure;
mod names;
mod origin;
mod page;
mod peer;
mod plot;
mod process;
mod protocol;
mod results;
mod tunnel;
mod verdict;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use crate::choice::Choice;
use crate::column::{Column, Crowd};
use crate::ground::Ground;
use crate::measure::{Figures, Turn};
use crate::origin::SMALL;
use crate::page::Run;
use crate::peer::{Peer, Product};
use crate::protocol::Protocol;
use crate::results::Results;

fn main() -> ExitCode {
    match perform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["origin", directory] => runtime.block_on(origin::serve(Path::new(directory))),
        ["tunnel", port] => runtime.block_on(floor::serve(port.parse().context("PORT")?)),
        ["instructions", path, count] => runtime.block_on(instructions::run(path, count.parse().context("COUNT")?)),
        ["all"] => runtime.block_on(all()),
        _ => bail!("usage: bench/run"),
    }
}

async fn all() -> anyhow::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = std::env::var_os("BENCH").map(PathBuf::from).context("BENCH: where peers were installed")?;
    let choice = Choice::read(|name| std::env::var(name).ok())?;
    let ground = Arc::new(Ground::make(sources, &installed).await?);
    let products = choice.products(|product| product.version(&ground).is_some())?;
    let mut bench = Bench { ground: Arc::clone(&ground), products, results: Results::default(), choice };
    bench.starts().await;
    bench.turns().await?;
    bench.two_workers().await;
    bench.idle().await;
    bench.memory().await?;
    let verdicts = verdict::measure()?;
    let Bench { products, results, choice, .. } = &bench;
    let run = Run { ground: &ground, products, results, verdicts: &verdicts, rounds: choice.rounds };
    say(&format!("\n{}\n{}{}", run.table(), run.targets()?, page::gaps(results, choice.rounds)));
    if choice.is_whole() { run.write(choice.updates_docs) } else { Ok(()) }
}

/// A run, as far as it is.
struct Bench {
    ground: Arc<Ground>,
    products: Vec<Product>,
    results: Results,
    choice: Choice,
}

impl Bench {
    /// Takes figures, or why there are none.
    fn take(&mut self, when: &str, product: Product, column: Column, figures: anyhow::Result<Figures>) {
        match figures {
            Ok(figures) => {
                let (column, figure) = figures.first().copied().unwrap_or((column, f64::NAN));
                say(&format!("{when}: {column}: {product}: {figure:.1} {}", column.unit()));
                self.results.add(product, figures);
            }
            Err(error) => {
                say(&format!("{when}: {column}: {product}: {error:#}"));
                self.results.fail(product, column, format!("{error:#}"));
            }
        }
    }

    async fn starts(&mut self) {
        let rounds = self.choice.rounds;
        if !self.choice.has(Column::Start) {
            return;
        }
        for round in 1..=rounds {
            for product in self.products.clone() {
                if self.results.has_given_up(product, Column::Start) {
                    continue;
                }
                let figures = measure::start(&self.ground, product).await;
                self.take(&format!("{round}/{rounds}"), product, Column::Start, figures);
            }
        }
    }

    /// Everything that is measured of proxies that stay: in turn, so that no proxy has a better hour than another.
    async fn turns(&mut self) -> anyhow::Result<()> {
        let turns: Vec<_> = Turn::ALL.into_iter().filter(|turn| self.choice.has(turn.column())).collect();
        if turns.is_empty() {
            return Ok(());
        }
        let (mut peers, rounds) = (self.peers(&turns).await?, self.choice.rounds);
        for round in 1..=rounds {
            for turn in turns.iter().copied() {
                for peer in &mut peers {
                    if !self.results.has_given_up(peer.product, turn.column()) {
                        let figures = turn.measure(peer).await;
                        let figures = peer.explain(figures).await;
                        self.take(&format!("{round}/{rounds}"), peer.product, turn.column(), figures);
                    }
                }
            }
        }
        for peer in peers {
            peer.stop().await?;
        }
        Ok(())
    }

    /// All proxies for that. One that does not start is given up, but for Sandgate, without which there is nothing to say.
    async fn peers(&mut self, turns: &[Turn]) -> anyhow::Result<Vec<Peer>> {
        let mut peers = Vec::new();
        for product in self.products.clone() {
            let peer = match Peer::start(&self.ground, product, 1).await {
                Ok(peer) => peer,
                Err(error) if product == Product::Sandgate => return Err(error),
                Err(error) => {
                    say(&format!("{error:#}"));
                    turns.iter().for_each(|turn| self.results.fail(product, turn.column(), format!("{error:#}")));
                    continue;
                }
            };
            for protocol in Protocol::ALL {
                // Connections to the origin are there afterwards. Where it fails, so does what is measured.
                if let Ok(mut tunnel) = peer.route.open(&peer.route.tls(protocol)?, &protocol.host()).await {
                    let _ = tunnel.get(SMALL).await;
                }
            }
            peers.push(peer);
        }
        Ok(peers)
    }

    async fn two_workers(&mut self) {
        let (column, rounds) = (Column::Rate(2), self.choice.rounds);
        if !self.choice.has(column) {
            return;
        }
        for round in 1..=rounds {
            for product in self.products.clone() {
                if !self.results.has_given_up(product, column) {
                    let figures = measure::two_workers(&self.ground, product).await;
                    self.take(&format!("{round}/{rounds}"), product, column, figures);
                }
            }
        }
    }

    async fn idle(&mut self) {
        for protocol in Protocol::ALL {
            for crowd in [Crowd::Thousand, Crowd::TenThousand] {
                if !self.choice.has(Column::Idle(protocol, crowd)) {
                    continue;
                }
                for product in self.products.clone() {
                    let figures = measure::idle(&self.ground, product, protocol, crowd).await;
                    self.take("once", product, Column::Idle(protocol, crowd), figures);
                }
            }
        }
    }

    /// All at once: nothing but memory is measured, and each waits for a minute.
    async fn memory(&mut self) -> anyhow::Result<()> {
        if !self.choice.has(Column::MemoryAtStart) {
            return Ok(());
        }
        let mut tasks = JoinSet::new();
        for product in self.products.clone() {
            let ground = Arc::clone(&self.ground);
            tasks.spawn(async move { (product, measure::memory(&ground, product).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (product, figures) = done?;
            self.take("once", product, Column::MemoryAtStart, figures);
        }
        Ok(())
    }
}

/// Prints a line at once.
fn say(line: &str) {
    // Who closed the output has seen enough.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
