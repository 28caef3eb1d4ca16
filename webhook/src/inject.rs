//! `inject`: files with the sidecar in their pods, or the difference. All is printed or, where one pod would be refused,
//! nothing: half of an application is worse than none.

use std::io::Write;
use std::process::ExitCode;

use similar::TextDiff;

use crate::cli::Inject;
use crate::config::Config;
use crate::decision::Decision;
use crate::documents;
use crate::offline::{self, Assumed, File, Place, plain};
use crate::reason::Outcome;

/// Runs the command: documents or the diff to `out`, everything else to `notes`.
///
/// # Errors
/// A file that can't be read, an object that is broken, or an output that is closed.
pub fn run(inject: &Inject, config: &Config, out: &mut impl Write, notes: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut files = offline::read(&inject.offline.files)?;
    let before = files.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let assumed = Assumed::new(&inject.offline, config);
    let counts = inject_all(&assumed, &mut files, notes)?;
    if counts.places == 0 {
        for file in &files {
            writeln!(notes, "{}: note: {}", plain(&file.name), offline::NOTHING)?;
        }
    }
    if counts.refused > 0 {
        writeln!(notes, "nothing is printed: {} would be refused", pods(counts.refused))?;
        return Ok(ExitCode::FAILURE);
    }
    if let Some(note) = assumed.note().filter(|_| counts.injected > 0) {
        writeln!(notes, "note: {note}")?;
    }
    let after = files.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    if inject.diff {
        for ((file, before), after) in files.iter().zip(&before).zip(&after) {
            out.write_all(diff(&file.name, before, after).as_bytes())?;
        }
    } else {
        let texts: Vec<&str> = after.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        out.write_all(texts.join("---\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Counts {
    /// Pods, and what makes pods, of known and unknown kinds.
    places: usize,
    injected: usize,
    refused: usize,
}

fn inject_all(assumed: &Assumed<'_>, files: &mut [File], notes: &mut impl Write) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    for file in files {
        for index in 0..file.documents.len() {
            let places = assumed.places(file, &file.documents[index])?;
            let document = &mut file.documents[index];
            if let Some(unknown) = offline::unknown_template(&document.value) {
                let note = format!("{}:{}: warning: {unknown}", file.name, document.line);
                writeln!(notes, "{}", plain(&note))?;
                counts.places += 1;
            }
            for place in places {
                counts.places += 1;
                let decision = assumed.inject(&place, &mut document.value);
                report(&place, &decision, notes)?;
                match decision.reason.outcome() {
                    Outcome::Injected => counts.injected += 1,
                    Outcome::Refused => counts.refused += 1,
                    Outcome::Skipped => {}
                }
            }
        }
    }
    Ok(counts)
}

fn report(place: &Place, decision: &Decision, notes: &mut impl Write) -> anyhow::Result<()> {
    let (code, message) = (decision.reason.code(), &decision.message);
    let outcome = match decision.reason.outcome() {
        Outcome::Injected => None,
        Outcome::Skipped => Some(format!("left as it is ({code}): {message}")),
        Outcome::Refused => Some(format!("refused ({code}): {message}")),
    };
    let warnings = offline::more_warnings(decision).map(|warning| format!("warning: {warning}"));
    for note in outcome.into_iter().chain(warnings) {
        writeln!(notes, "{}", plain(&format!("{place}: {note}")))?;
    }
    Ok(())
}

fn text(file: &File) -> Result<String, serde_saphyr::ser_error::Error> {
    documents::write(file.documents.iter().map(|document| &document.value))
}

/// A unified diff of both as they are written here, so that it shows what the sidecar changes and no matters of style.
fn diff(name: &str, before: &str, after: &str) -> String {
    let difference = TextDiff::from_lines(before, after);
    difference.unified_diff().context_radius(3).header(name, &format!("{name} (injected)")).to_string()
}

fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}
