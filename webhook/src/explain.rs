//! `explain`: what would happen to each pod of files, and why, for people. It says what the decision is and what the
//! patch leads to; it decides nothing.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use sandgate_contract::{CONTAINER_NAME, VARIABLES};
use serde_json::Value;

use crate::cli::Offline;
use crate::config::Config;
use crate::decision::Decision;
use crate::names::{INJECT_LABEL, POLICY_VOLUME};
use crate::offline::{self, Assumed, File, plain};
use crate::pod;
use crate::reason::Outcome;

/// Runs the command. It fails (exit code 1) where a pod would be refused.
///
/// # Errors
/// A file that can't be read, an object that is broken, or an output that is closed.
pub fn run(offline: &Offline, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let files = offline::read(&offline.files)?;
    let assumed = Assumed::new(offline, config);
    let (text, refused) = explain(&assumed, &files)?;
    out.write_all(text.as_bytes())?;
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The text for all pods of `files`, and whether one of them would be refused.
fn explain(assumed: &Assumed<'_>, files: &[File]) -> anyhow::Result<(String, bool)> {
    let mut text = format!("In a namespace {}:\n", labelled(assumed));
    let (mut pods, mut injected, mut refused) = (0, 0, false);
    for file in files {
        for document in &file.documents {
            if let Some(unknown) = offline::unknown_template(&document.value) {
                let note = format!("{}:{}: {unknown}", file.name, document.line);
                let _ = write!(text, "\n{}\n", plain(&note));
            }
            for place in assumed.places(file, document)? {
                let mut after = document.value.clone();
                let decision = assumed.inject(&place, &mut after);
                let pointer = format!("{}{}", place.object, place.workload.pointer);
                let pod = |document: &Value| document.pointer(&pointer).cloned().unwrap_or_default();
                let title = plain(&place.to_string());
                let _ = write!(text, "\n{title}\n{}", story(&decision, &pod(&document.value), &pod(&after)));
                refused |= decision.reason.outcome() == Outcome::Refused;
                injected += usize::from(decision.reason.outcome() == Outcome::Injected);
                pods += 1;
            }
        }
    }
    if pods == 0 {
        text.push_str("\nthere is no pod in it, and nothing of a known kind that makes pods\n");
    }
    if let Some(note) = assumed.note().filter(|_| injected > 0) {
        let _ = write!(text, "\nnote: {note}\n");
    }
    Ok((text, refused))
}

fn labelled(assumed: &Assumed<'_>) -> String {
    match assumed.mode() {
        crate::mode::Mode::Unlabelled => format!("without the label {INJECT_LABEL}"),
        mode => format!("labelled {INJECT_LABEL}={}", mode.name()),
    }
}

/// What happens to one pod, a line for each matter.
fn story(decision: &Decision, before: &Value, after: &Value) -> String {
    let outcome = decision.reason.outcome();
    let mut text = String::new();
    line(&mut text, outcome.name(), &format!("{} ({})", decision.message, decision.reason.code()));
    if outcome == Outcome::Injected {
        if let Some((_, sidecar)) = pod::named(&after["spec"], "initContainers", CONTAINER_NAME) {
            line(
                &mut text,
                "sidecar",
                &format!("{CONTAINER_NAME}, image {}", pod::text(sidecar, "/image").unwrap_or("?")),
            );
            line(&mut text, "resources", &resources(sidecar));
        }
        if let Some((_, volume)) = pod::named(&after["spec"], "volumes", POLICY_VOLUME) {
            let name = pod::text(volume, "/configMap/name").unwrap_or("?");
            line(&mut text, "policy", &format!("ConfigMap {name}; while there is none, everything is denied"));
        }
        for environment in environments(before, after) {
            line(&mut text, "environment", &environment);
        }
    }
    for warning in offline::more_warnings(decision) {
        line(&mut text, "warning", warning);
    }
    text
}

fn line(text: &mut String, title: &str, rest: &str) {
    let _ = writeln!(text, "  {title:<12} {}", plain(rest));
}

fn resources(sidecar: &Value) -> String {
    let amounts = |kind: &str| {
        let amount = |what: &str| pod::text(sidecar, &format!("/resources/{kind}/{what}")).unwrap_or("none").to_owned();
        format!("cpu {}, memory {}", amount("cpu"), amount("memory"))
    };
    format!("requests {}; limits {}", amounts("requests"), amounts("limits"))
}

/// For each container but the sidecar, by its place in the file: how many variables it gets, and which of them it keeps
/// as its own.
fn environments(before: &Value, after: &Value) -> Vec<String> {
    let others = pod::containers(&before["spec"]).filter(|container| container.name() != CONTAINER_NAME);
    others
        .map(|container| {
            let now = pod::named(&after["spec"], container.list.field(), container.name());
            let now = now.map_or(&Value::Null, |(_, json)| json);
            let variable = |of: &Value, name: &str| pod::named(of, "env", name).map(|(_, entry)| entry.clone());
            let (mut set, mut kept) = (0, Vec::new());
            for name in VARIABLES.iter().map(|row| row.name) {
                match (variable(container.json, name), variable(now, name)) {
                    (Some(old), Some(new)) if old == new => kept.push(name),
                    (_, Some(_)) => set += 1,
                    (_, None) => {}
                }
            }
            let kept = if kept.is_empty() { String::new() } else { format!("; keeps its own {}", kept.join(", ")) };
            format!("{}: {set} variables set{kept}", container.place())
        })
        .collect()
}
