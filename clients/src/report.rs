//! What a client did in every scenario, and the line that a person reads of it while the others still run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::client::{Client, Scenario};
use crate::exceptions::{EXCEPTIONS, Way};
use crate::outcome::Outcome;
use crate::stage::{Attempt, Stage};

/// A client that has run.
pub(crate) struct Row {
    /// Its place in the catalogue.
    pub(crate) number: u8,
    pub(crate) client: Client,
    pub(crate) version: String,
    pub(crate) results: BTreeMap<Scenario, (Outcome, Attempt)>,
    /// Which way it went with each of the exceptions, where it was asked.
    pub(crate) ways: Vec<Way>,
    time: Duration,
}

impl Row {
    /// Lets a client do all that it can.
    pub(crate) async fn new(number: u8, client: Client, version: String, stage: &Stage<'_>) -> anyhow::Result<Self> {
        let start = Instant::now();
        let mut results = BTreeMap::new();
        for scenario in client.scenarios() {
            let attempt = stage.attempt(&client, scenario).await?;
            results.insert(scenario, (Outcome::of(scenario, &attempt), attempt));
        }
        let mut ways = Vec::new();
        for exception in EXCEPTIONS.iter().filter(|_| client.probed) {
            ways.push(Way::of(&stage.probe(&client, exception).await?));
        }
        Ok(Self { number, client, version, results, ways, time: start.elapsed() })
    }

    /// The outcome in a scenario, or that there is none.
    pub(crate) fn outcome(&self, scenario: Scenario) -> String {
        self.results.get(&scenario).map_or_else(|| "–".to_owned(), |(outcome, _)| outcome.to_string())
    }

    /// Whether it works where it may and is refused where it may not.
    pub(crate) fn is_well(&self) -> bool {
        self.results.iter().all(|(scenario, (outcome, _))| match scenario {
            Scenario::Listed | Scenario::Stream => *outcome == Outcome::Works,
            Scenario::Unlisted | Scenario::Path => *outcome == Outcome::Refused,
        })
    }

    /// Prints one line, and what the client printed where all is not well.
    pub(crate) fn show(&self) {
        let outcomes: Vec<_> = Scenario::ALL.iter().map(|scenario| self.outcome(*scenario)).collect();
        let (name, version, time) = (self.client.name, &self.version, self.time.as_secs_f64());
        say(&format!("| {name} | {version} | {} | {time:.1} s", outcomes.join(" | ")));
        if self.is_well() {
            return;
        }
        for (scenario, (outcome, attempt)) in &self.results {
            let Attempt { success, stdout, stderr, strays, codes, .. } = attempt;
            say(&format!(
                "    {scenario}: {outcome}; ended well: {success}; past the proxy: {strays:?}; audit log: {codes:?}"
            ));
            let last = stderr.lines().rev().take(4).collect::<Vec<_>>();
            stdout.lines().take(4).chain(last.into_iter().rev()).for_each(|line| say(&format!("        {line}")));
        }
    }
}

/// Prints a line at once.
pub(crate) fn say(line: &str) {
    // Who closed the output has seen enough.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
