//! docs/performance.md and its picture, made from a run. The texts in `page/` are pieces of it, so their links are those of
//! docs/.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;

use crate::column::Column;
use crate::ground::Ground;
use crate::peer::Product;
use crate::plot;
use crate::results::{Gap, Results, Sample};
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
    /// Writes page and picture: into docs, or beside what is built.
    pub(crate) fn write(&self, updates_docs: bool) -> anyhow::Result<()> {
        let docs = self.ground.peers.join("../../docs");
        let directory = if updates_docs { &docs } else { &self.ground.installed };
        for (name, text) in
            [("performance.md", self.page()?), ("performance.svg", plot::draw(self.products, self.results))]
        {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            say(&format!("written: {}/{name}", if updates_docs { "docs" } else { "target/bench" }));
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
        page.push_str(&gaps(self.results, self.rounds));
        page.push_str(include_str!("page/tail.md"));
        Ok(page)
    }

    fn machine(&self) -> anyhow::Result<String> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let machine = Machine::of(&cpuinfo);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let products = Product::ALL.into_iter().filter(|product| *product != Product::Control);
        let (mut versions, mut missing) = (Vec::new(), Vec::new());
        for product in products {
            match product.version(self.ground) {
                Some(version) => versions.push(format!("{product} {version}")),
                None => missing.push(product.to_string()),
            }
        }
        let mut text = format!(
            "Measured on {} with {} processors ({}), Linux {}; {} rounds. {}.",
            if machine.is_virtual { "a virtual machine" } else { "a machine" },
            machine.processors,
            machine.model,
            kernel.trim(),
            self.rounds,
            versions.join("; ")
        );
        if !missing.is_empty() {
            let _ = write!(text, " Not installed here: {}.", missing.join("; "));
        }
        let _ = write!(text, "\n\n{}", two_workers(machine.processors));
        Ok(text)
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
}

/// The machine, as /proc/cpuinfo has it.
#[derive(Debug, PartialEq, Eq)]
struct Machine<'a> {
    /// Not those that this process may use, which is one.
    processors: usize,
    model: &'a str,
    is_virtual: bool,
}

impl<'a> Machine<'a> {
    fn of(cpuinfo: &'a str) -> Self {
        let value = |name| {
            let line = cpuinfo.lines().find_map(|line| line.strip_prefix(name));
            line.map(|line| line.trim_start_matches([' ', '\t', ':']))
        };
        Self {
            processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            model: value("model name").unwrap_or("unknown"),
            is_virtual: value("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        }
    }
}

/// Where two workers run: on the processors 0 and 1, while the load has the last one.
fn two_workers(processors: usize) -> &'static str {
    if processors > 2 {
        "With two workers a proxy has two cores, and the load and the origin keep to another."
    } else {
        "With two workers a proxy has both cores of this machine, and shares one of them with the load and the origin. So those \
         rows are not what two cores of a proxy's own would bring: they can be below one worker's, and the proxy can't keep \
         both cores busy."
    }
}

/// What was tried and has no figure, or fewer than others.
pub(crate) fn gaps(results: &Results, rounds: usize) -> String {
    let (mut empty, mut missing) = (String::new(), String::new());
    for Gap { column, product, reason, measured } in results.gaps() {
        let _ = match measured {
            0 => writeln!(empty, "- {product}, {column}: {reason}"),
            _ => writeln!(missing, "- {product}, {column}: {} of {rounds}: {reason}", rounds.saturating_sub(measured)),
        };
    }
    let lists = [("Empty cells", empty), ("Missing rounds", missing)].into_iter().filter(|(_, list)| !list.is_empty());
    lists.map(|(title, list)| format!("\n{title}:\n\n{list}")).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_what_its_processors_say() {
        let cpuinfo =
            |flags| format!("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu {flags} avx\n\nprocessor\t: 1\n");
        for (flags, is_virtual) in [("hypervisor", true), ("hypervisors", false)] {
            assert_eq!(Machine::of(&cpuinfo(flags)), Machine { processors: 2, model: "Some CPU", is_virtual });
        }
        assert_eq!(Machine::of(""), Machine { processors: 0, model: "unknown", is_virtual: false });
    }

    #[test]
    fn cores_are_shared_where_there_are_two() {
        assert!(two_workers(2).contains("shares one of them"));
        assert!(!two_workers(3).contains("shares"));
    }

    #[test]
    fn a_cell_of_fewer_rounds_is_not_empty() {
        let mut results = Results::default();
        results.add(Product::Squid, vec![(Column::Refusal, 1.0)]);
        results.fail(Product::Squid, Column::Refusal, "reset".to_owned());
        assert_eq!(gaps(&results, 3), "\nMissing rounds:\n\n- Squid, CPU: refused CONNECT: 2 of 3: reset\n");
        results.fail(Product::Envoy, Column::Start, "no".to_owned());
        assert!(gaps(&results, 3).starts_with("\nEmpty cells:\n\n- Envoy, start to first 200: no\n\nMissing rounds:"));
        assert_eq!(gaps(&Results::default(), 3), "");
    }
}
