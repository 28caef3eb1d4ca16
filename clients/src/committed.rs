//! The outcomes that docs/clients.md has, which no run may worsen.

use std::collections::HashMap;

use anyhow::Context as _;

use crate::client::Scenario;
use crate::outcome::Outcome;
use crate::places::Places;
use crate::report::{Row, say};

/// What the page says of each client, by scenario.
pub(crate) struct Committed(HashMap<String, Vec<Option<Outcome>>>);

impl Committed {
    /// Reads the page's table.
    pub(crate) fn read(places: &Places) -> anyhow::Result<Self> {
        let path = places.sources.join("../docs/clients.md");
        let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self(page.lines().filter_map(row).collect()))
    }

    /// Whether a client gave up where the page says more of it, and nothing went past the proxy: what is worth another
    /// try, because somebody else's program may hang once in some hundred runs.
    pub(crate) fn is_to_be_tried_again(&self, row: &Row) -> bool {
        let has_strayed = row.results.values().any(|(outcome, _)| *outcome == Outcome::IgnoresProxy);
        !has_strayed && self.0.get(row.client.name).is_some_and(|before| is_worse(row, before))
    }

    /// Says what is worse and what is better than on the page, and returns how many clients are worse. A client that is
    /// not on the page counts as worse: the page has to say of it.
    pub(crate) fn compare(&self, rows: &[Row], is_whole: bool) -> usize {
        let mut worse = 0;
        for row in rows {
            let Some(before) = self.0.get(row.client.name) else {
                say(&format!("NEW: {} is not in docs/clients.md: UPDATE_DOCS=1 make clients", row.client.name));
                worse += 1;
                continue;
            };
            for (scenario, before) in Scenario::ALL.iter().zip(before) {
                let now = row.results.get(scenario).map(|(outcome, _)| *outcome);
                let change = if now > *before { "WORSE" } else { "better" };
                let name = |outcome: Option<Outcome>| {
                    outcome.map_or_else(|| "nothing".to_owned(), |outcome| outcome.to_string())
                };
                if now != *before {
                    say(&format!("{change}: {}, {scenario}: {}, was: {}", row.client.name, name(now), name(*before)));
                }
            }
            worse += usize::from(is_worse(row, before));
        }
        let names: Vec<_> = rows.iter().map(|row| row.client.name).collect();
        for name in self.0.keys().filter(|name| is_whole && !names.contains(&name.as_str())) {
            say(&format!("GONE: {name} is in docs/clients.md, and did not run: UPDATE_DOCS=1 make clients"));
            worse += 1;
        }
        worse
    }
}

/// Whether any outcome of the row is worse than that of the page, or missing.
fn is_worse(row: &Row, before: &[Option<Outcome>]) -> bool {
    Scenario::ALL.iter().zip(before).any(|(scenario, before)| {
        let now = row.results.get(scenario).map(|(outcome, _)| *outcome);
        now > *before || now.is_none() && before.is_some()
    })
}

/// A row of the table: its client, and the outcomes in the order of the columns.
fn row(line: &str) -> Option<(String, Vec<Option<Outcome>>)> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let (name, outcomes) = (*cells.first()?, cells.get(2..)?);
    let is_row = outcomes.len() == Scenario::ALL.len()
        && outcomes.iter().all(|cell| *cell == "–" || Outcome::parse(cell).is_some());
    is_row.then(|| (name.to_owned(), outcomes.iter().map(|cell| Outcome::parse(cell)).collect()))
}
