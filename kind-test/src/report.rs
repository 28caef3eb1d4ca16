//! What people read: a line for each test as it ends, all that the cluster knows of one that failed, and the table.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::kubectl::kubectl;

/// A test that has ended.
pub struct Row {
    /// Its module and function.
    pub name: &'static str,
    /// Whether it passed.
    pub passed: bool,
    /// How long it took.
    pub time: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = if self.passed { "passed" } else { "FAILED" };
        let name = self.name.trim_start_matches("e2e::").replace("::", ": ").replace('_', " ");
        write!(formatter, "| {name} | {result} | {:.1} |", self.time.as_secs_f64())
    }
}

/// Prints a line at once.
pub fn say(line: &str) {
    // Who closed the output has seen enough.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints all rows, the count, and returns what the program ends with.
#[must_use]
pub fn show_table(rows: &[Row]) -> ExitCode {
    say("\n| test | result | seconds |\n|---|---|---|");
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| row.name);
    sorted.iter().for_each(|row| say(&row.to_string()));
    let passed = rows.iter().filter(|row| row.passed).count();
    say(&format!("\n{passed} passed, {} failed", rows.len() - passed));
    if passed == rows.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints why a test failed, and the pods, events and logs of its namespaces and of Sandgate's own.
pub fn show_failure(test: &str, failure: &str, namespaces: &[String]) {
    say(&format!("--- {test}: {failure}"));
    for namespace in namespaces.iter().map(String::as_str).chain(["sandgate-system"]) {
        show(&["-n", namespace, "get", "pods", "-o", "wide"]);
        show(&["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"]);
        let pods = kubectl(&["-n", namespace, "get", "pods", "-o", "name"], "");
        for pod in pods.output.lines().take(10) {
            show(&["-n", namespace, "logs", pod, "--all-containers", "--prefix", "--tail=40", "--ignore-errors"]);
        }
    }
    say(&format!("--- {test}: end"));
}

fn show(arguments: &[&str]) {
    let printed = kubectl(arguments, "");
    say(&format!("$ kubectl {}\n{}\n{}", arguments.join(" "), printed.output, printed.errors));
}
