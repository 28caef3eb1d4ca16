//! docs/clients.md, made from a run: what people read of it, and what the next run is compared with. The texts in `page/`
//! are pieces of it, so their links are those of docs/.

use std::fmt::Write as _;

use anyhow::Context as _;

use crate::client::Scenario;
use crate::exceptions;
use crate::outcome::Outcome;
use crate::places::Places;
use crate::report::{Row, say};
use crate::stage::Attempt;

/// The longest piece of a client's own words, in characters.
const MAX_WORDS: usize = 420;

/// Writes the page: into docs where `UPDATE_DOCS` asks for that, else into `target/clients`, to be looked at.
pub(crate) fn write(places: &Places, rows: &[Row]) -> anyhow::Result<()> {
    let update = is_updated();
    let path = if update { places.sources.join("../docs/clients.md") } else { places.installed.join("clients.md") };
    std::fs::write(&path, page(places, rows)).with_context(|| path.display().to_string())?;
    let (docs, here) = ("docs/clients.md", "target/clients/clients.md");
    say(&format!("\nthe page of this run: {}", if update { docs } else { here }));
    Ok(())
}

/// Whether docs/clients.md is to be written anew.
pub(crate) fn is_updated() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

fn page(places: &Places, rows: &[Row]) -> String {
    let mut page = include_str!("page/head.md").to_owned();
    let headings: Vec<_> = Scenario::ALL.iter().map(ToString::to_string).collect();
    // Infallible, here and below: a string has room.
    let _ = writeln!(page, "| client | version | {} |\n|---|---|---|---|---|---|", headings.join(" | "));
    for row in rows {
        let outcomes: Vec<_> = Scenario::ALL.iter().map(|scenario| row.outcome(*scenario)).collect();
        let _ = writeln!(page, "| {} | {} | {} |", row.client.name, row.version, outcomes.join(" | "));
    }
    page.push_str("\n## What does not work as it is, and what helps\n\n");
    for row in rows.iter().filter(|row| !row.is_well()) {
        let _ = writeln!(page, "- **{}**: {}", row.client.name, row.client.remedy);
    }
    page.push_str(include_str!("page/screen.md"));
    for row in rows {
        let refused =
            [Scenario::Unlisted, Scenario::Path].into_iter().filter_map(|scenario| row.results.get(&scenario));
        let refused: Vec<_> = refused.filter(|(outcome, _)| *outcome == Outcome::Refused).collect();
        if !refused.is_empty() {
            let _ = writeln!(page, "- {}", row.client.name);
        }
        for (_, attempt) in refused {
            let _ = writeln!(page, "  - {}", words(places, attempt));
        }
    }
    page.push_str(include_str!("page/exceptions.md"));
    page.push_str(&exceptions::table(rows));
    page.push_str(include_str!("page/tail.md"));
    page
}

/// The line of a client's output that tells most of a refusal, as inline code.
fn words(places: &Places, attempt: &Attempt) -> String {
    let all = attempt.stderr.lines().chain(attempt.stdout.lines()).map(|line| plain(places, line));
    let lines: Vec<String> = all.filter(|line| !line.is_empty()).collect();
    let telling = ["_not_allowed", "403", "unnel", "roxy", "rror", "ERR"];
    let found = telling.iter().find_map(|word| lines.iter().find_map(|line| Some((line, line.find(word)?))));
    match found.or(lines.last().map(|line| (line, 0))) {
        Some((line, at)) => format!("`{}`", shortened(line, at).replace('`', "'")),
        None => "nothing".to_owned(),
    }
}

/// A line without colours, and without what is different in every run and on every machine.
fn plain(places: &Places, line: &str) -> String {
    let mut pieces = line.split('\u{1b}');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.split_once(|end: char| end.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    let root = places.sources.parent().map(|root| format!("{}/", root.display())).unwrap_or_default();
    let text = text.replace(&root, "");
    let words = text.split_whitespace().map(|word| if word.contains("/.tmp") { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// A long line around the byte that matters.
fn shortened(line: &str, at: usize) -> String {
    let before = line[..at].chars().count();
    let skipped = if before + MAX_WORDS / 4 > MAX_WORDS { before - MAX_WORDS / 2 } else { 0 };
    let kept: String = line.chars().skip(skipped).take(MAX_WORDS).collect();
    let (start, end) = (skipped > 0, line.chars().count() > skipped + MAX_WORDS);
    format!("{}{kept}{}", if start { "…" } else { "" }, if end { "…" } else { "" })
}

/// Whether the page can say of this client why it is not well.
pub(crate) fn explains(row: &Row) -> bool {
    row.is_well() || !row.client.remedy.is_empty()
}
