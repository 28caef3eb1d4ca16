//! docs/performance.md and its picture, made from a run. The texts in `page/` are pieces of it, so their links are those of
//! docs/.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;

use crate::column::Column;
use crate::ground::Ground;
use crate::peer::Product;
use crate::plot;
use crate::results::{Results, Sample};
use crate::say;
use crate::verdict;

/// The largest growth of a verdict's time from the smallest to the largest policy.
const VERDICT_TARGET: f64 = 1.2;
/// How much more memory than at its start a proxy may have a minute after a load.
const AFTER_TARGET: f64 = 1.5;

/// What a run brought.
pub(crate) struct Run<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) products: &'a [Product],
    pub(crate) results: &'a Results,
    /// Rules, and ns of a verdict.
    pub(crate) verdicts: &'a [(usize, f64)],
    /// How often everything was measured.
    pub(crate) rounds: usize,
}

impl Run<'_> {
    /// Writes page and picture: into docs where `UPDATE_DOCS` asks for that, else beside what is built.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let is_update = std::env::var_os("UPDATE_DOCS").is_some();
        let docs = self.ground.peers.join("../../docs");
        let directory = if is_update { &docs } else { &self.ground.installed };
        for (name, text) in
            [("performance.md", self.page()?), ("performance.svg", plot::draw(self.products, self.results))]
        {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            say(&format!("written: {}/{name}", if is_update { "docs" } else { "target/bench" }));
        }
        Ok(())
    }

    fn page(&self) -> anyhow::Result<String> {
        let mut page = include_str!("page/head.md").to_owned();
        page.push_str(&self.machine()?);
        page.push_str("\n\n## The table\n\n");
        page.push_str(&self.table());
        page.push_str("\n![each figure as a part of the best peer's](performance.svg)\n\n## Targets\n\n");
        page.push_str(&self.targets()?);
        page.push_str(&self.empty_cells());
        page.push_str(include_str!("page/tail.md"));
        Ok(page)
    }

    fn machine(&self) -> anyhow::Result<String> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        // Not those that this process may use, which is one.
        let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let versions: Vec<_> = self
            .products
            .iter()
            .filter(|product| **product != Product::Control)
            .filter_map(|product| Some(format!("{product} {}", product.version(self.ground)?)))
            .collect();
        Ok(format!(
            "Measured on a virtual machine with {cores} processors ({}), Linux {}; {} rounds. {}.",
            processor.trim_start_matches([' ', '\t', ':']),
            kernel.trim(),
            self.rounds,
            versions.join("; ")
        ))
    }

    /// Every column of measurements as a row, with a column for each product.
    pub(crate) fn table(&self) -> String {
        let names: Vec<_> = self.products.iter().map(ToString::to_string).collect();
        let mut table = format!("| | unit | {} | of the best peer |\n", names.join(" | "));
        // Infallible, here and below: a string has room.
        let _ = writeln!(table, "|---|---|{}---|", "---|".repeat(names.len()));
        for column in Column::ALL {
            let cell = |product: &Product| self.results.sample(column, *product).map_or_else(|| "–".to_owned(), cell);
            let cells: Vec<_> = self.products.iter().map(cell).collect();
            let stands = self.results.comparison(column).map_or_else(String::new, |comparison| {
                let equal = if comparison.is_noise { "equal, " } else { "" };
                format!("{equal}{:.2} × {}", comparison.ratio, comparison.best)
            });
            let _ = writeln!(table, "| {column} | {} | {} | {stands} |", column.unit(), cells.join(" | "));
        }
        table
    }

    /// What this project wants, and whether it is so.
    pub(crate) fn targets(&self) -> anyhow::Result<String> {
        let mut table = "| what | target | measured | |\n|---|---|---|---|\n".to_owned();
        let mut row = |what: &str, target: f64, ratio: f64, of: &str| {
            let met = if ratio <= target { "met" } else { "**not met**" };
            let _ = writeln!(table, "| {what} | ≤ {target} × | {ratio:.2} × {of} | {met} |");
        };
        for column in Column::ALL {
            if let (Some(target), Some(comparison)) = (column.target(), self.results.comparison(column)) {
                row(&column.to_string(), target, comparison.ratio, &comparison.best.to_string());
            }
        }
        let sandgate = |column| self.results.sample(column, Product::Sandgate).map(|sample| sample.median);
        if let (Some(start), Some(after)) = (sandgate(Column::MemoryAtStart), sandgate(Column::MemoryAfter)) {
            row("memory: given back 60 s after a load", AFTER_TARGET, after / start, "at start");
        }
        let growth = verdict::growth(self.verdicts)?;
        row("a verdict, 10,000 rules against 10", VERDICT_TARGET, growth, "that of 10 rules");
        let times: Vec<_> = self.verdicts.iter().map(|(rules, time)| format!("{time:.0} ns with {rules}")).collect();
        let _ = writeln!(table, "\nA verdict takes {}.", times.join(", "));
        Ok(table)
    }

    fn empty_cells(&self) -> String {
        let mut text = String::new();
        for (column, product, reason) in self.results.reasons() {
            let _ = writeln!(text, "- {product}, {column}: {reason}");
        }
        if text.is_empty() { text } else { format!("\nEmpty cells:\n\n{text}") }
    }
}

fn cell(Sample { median, least, most }: Sample) -> String {
    let digits = match median {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    if least == most {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}
