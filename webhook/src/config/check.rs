//! `validate-config`: what is wrong with a configuration file, for people and for CI. Puts nothing in force.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sandgate_policy::yaml;

use super::Config;
use super::file::{LoadError, read};
use crate::documents;
use crate::pod;

/// The key of the ConfigMap in manifests/ whose text is the configuration.
const KEY: &str = "config.yaml";

/// Says whether `file` (`-` is stdin) is a valid configuration: its problems one a line as `FILE:LINE: key: message`, or
/// its hash. Of a manifest with a ConfigMap, as an overlay has it, the text under `config.yaml` is looked at.
///
/// # Errors
/// Where the file cannot be read, or the output not written.
pub fn validate(file: &Path, out: &mut impl Write) -> anyhow::Result<bool> {
    let (name, content) = content(file)?;
    let (path, text) = match of_config_map(&content) {
        Some(text) => (PathBuf::from(format!("{} ({KEY})", name.display())), text.into_bytes()),
        None => (name, content),
    };
    match Config::parse(&text) {
        Ok(config) => writeln!(out, "{}: ok (hash {})", path.display(), config.hash()).map(|()| true),
        Err(errors) => writeln!(out, "{}", LoadError::Config { path, errors }).map(|()| false),
    }
    .context("stdout")
}

fn content(file: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    if file != Path::new("-") {
        let content = read(file).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok((file.to_owned(), content));
    }
    let mut content = Vec::new();
    std::io::stdin().lock().take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut content).context("cannot read stdin")?;
    Ok((PathBuf::from("stdin"), content))
}

/// The configuration in a manifest; nothing where the file is no manifest that has one.
fn of_config_map(content: &[u8]) -> Option<String> {
    let documents = documents::read(content).ok()?;
    let config_map = |object: &&documents::Document| pod::text(&object.value, "/kind") == Some("ConfigMap");
    documents.iter().filter(config_map).find_map(|it| pod::text(&it.value, "/data/config.yaml")).map(str::to_owned)
}
