//! Which version of a client ran: the pinned one, or what the client says of itself.

use std::collections::HashMap;
use std::process::Command;

use anyhow::Context as _;

use crate::client::{Client, Version};
use crate::places::Places;

/// What `versions.txt` pins.
pub(crate) struct Versions(HashMap<(String, String), String>);

impl Versions {
    /// Reads the file.
    pub(crate) fn read(places: &Places) -> anyhow::Result<Self> {
        let path = places.sources.join("versions.txt");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let pin = |line: &str| {
            let [registry, package, version] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
            Some(((registry.to_owned(), package.to_owned()), version.to_owned()))
        };
        Ok(Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(pin).collect()))
    }

    /// The version of a client.
    pub(crate) fn of(&self, client: &Client, places: &Places) -> anyhow::Result<String> {
        match client.version {
            Version::Pinned(registry, package) => {
                let pin = self.0.get(&(registry.to_owned(), package.to_owned())).cloned();
                pin.with_context(|| format!("versions.txt has no {package} of {registry} for {}", client.name))
            }
            Version::Printed(command) => {
                printed(command, places).with_context(|| format!("{command:?} for {}", client.name))
            }
        }
    }
}

/// The first word that starts with a digit, or with a `v` or `go` and a digit, in what a command prints.
fn printed(command: &[&str], places: &Places) -> anyhow::Result<String> {
    let output = Command::new(places.word(command[0])).args(&command[1..]).env("PATH", &places.path).output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let version =
        text.split(|character: char| character.is_whitespace() || "\"(),".contains(character)).find_map(|word| {
            let word = word.trim_start_matches("go").trim_start_matches('v').trim_end_matches(['.', ';']);
            // Some print it in colours.
            let word = word.split('\u{1b}').next().unwrap_or_default();
            (word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')).then(|| word.to_owned())
        });
    version.context("it prints no version")
}
