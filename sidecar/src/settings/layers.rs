//! The layers that settings come from, as raw text with its source: flags, variables, file, the original's variables,
//! defaults. Nothing is parsed while it is collected, so that all problems are found together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use sandgate_policy::yaml;

use super::table::VARIABLE_PREFIX;
use super::{Setting, TABLE, legacy, row};

/// The variable that names the settings file: the only one that is not a setting.
pub const CONFIG_VARIABLE: &str = "SANDGATE_CONFIG";

/// Where a raw value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by its name without dashes.
    Flag(&'static str),
    /// An environment variable, by its name.
    Variable(String),
    /// A line of the settings file.
    File {
        /// The file as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
    },
    /// The table's own default, by the setting's name.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line, key } => write!(f, "{path}:{line}: {key}"),
            Self::Default(name) => write!(f, "the default of --{name}"),
        }
    }
}

/// All that is wrong with the settings: one line each, with its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl Problems {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

#[derive(Clone, Debug)]
struct Raw {
    origin: Origin,
    text: String,
}

/// Raw values by setting. A value that is already there stays: layers are added from the strongest to the weakest.
#[derive(Debug, Default)]
pub struct Layers {
    given: BTreeMap<&'static str, Vec<Raw>>,
    defaults: BTreeMap<&'static str, &'static str>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Layers {
    /// Other defaults than the table's for some settings, by name.
    #[must_use]
    pub fn with_defaults(defaults: &[(&'static str, &'static str)]) -> Self {
        Self { defaults: defaults.iter().copied().collect(), ..Self::default() }
    }

    /// Adds `values` for `setting`, unless a stronger layer has some.
    pub fn add(&mut self, setting: &Setting, values: impl IntoIterator<Item = (Origin, String)>) {
        self.given
            .entry(setting.name)
            .or_insert_with(|| values.into_iter().map(|(origin, text)| Raw { origin, text }).collect());
    }

    /// Adds the flags of a command line: for each setting its values.
    pub fn add_flags<'a>(&mut self, mut values: impl FnMut(&'static str) -> Option<Vec<&'a str>>) {
        for setting in TABLE {
            if let Some(values) = values(setting.name) {
                self.add(setting, values.into_iter().map(|text| (Origin::Flag(setting.name), text.to_owned())));
            }
        }
    }

    /// Adds the variables of an environment. An empty one counts as not set. One that no setting has is only a
    /// warning, and not even that where Kubernetes makes it for a Service, as it does in every container.
    pub fn add_variables(&mut self, variables: &[(OsString, OsString)]) {
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { continue };
            if name == CONFIG_VARIABLE {
                continue;
            }
            let Some(setting) = TABLE.iter().find(|setting| setting.variable() == name) else {
                if is_of_a_service(name, &value.to_string_lossy()) {
                    continue;
                }
                self.warnings.push(format!("{name} is not a setting and is ignored{}", variable_meant_by(name)));
                continue;
            };
            match value.to_str() {
                Some("") => {}
                Some(text) => self.add(setting, [(Origin::Variable(name.to_owned()), text.to_owned())]),
                None => self.problems.push(format!("{name}: the value is not UTF-8")),
            }
        }
    }

    /// Adds the variables of the original proxy. Weaker than everything of ours, so to be added last.
    pub fn add_legacy_variables(&mut self, variables: &[(OsString, OsString)]) {
        legacy::add(self, variables);
    }

    /// Adds a problem that was found while a layer was read.
    pub fn refuse(&mut self, origin: &dyn fmt::Display, reason: &str) {
        self.problems.push(format!("{origin}: {reason}"));
    }

    /// As [`Self::refuse`], for a sentence that says itself where it is from.
    pub fn refuse_whole(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Adds a warning for the log.
    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Where `name` was given, if it was.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.given.get(name)?.first().map(|raw| &raw.origin)
    }

    /// The raw text of `name` where it was given, the first where it was given more than once.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name)?.first().map(|raw| raw.text.as_str())
    }

    /// Adds a problem with the value of `name`, wherever that value came from.
    pub fn refuse_setting(&mut self, name: &'static str, reason: &str) {
        let origin = self.origin(name).cloned().unwrap_or(Origin::Default(name));
        self.refuse(&origin, reason);
    }

    pub(super) fn refuse_both(&mut self, one: &str, other: &str) {
        if let (Some(first), Some(second)) = (self.origin(one), self.origin(other)) {
            self.problems.push(format!("{first} and {second} cannot both be set: keep one of them"));
        }
    }

    pub(super) fn one<T>(&mut self, field: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let raw = self.raw(setting(field));
        if let [_, second, ..] = raw.as_slice() {
            self.problems.push(format!("{}: can be given only once", second.origin));
            return None;
        }
        self.parsed(raw.first()?, parse)
    }

    pub(super) fn switch(&mut self, field: &str, parse: impl Fn(&str) -> Result<bool, String>) -> Option<bool> {
        self.one(field, parse)
    }

    pub(super) fn optional<T>(&mut self, field: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Option<T>> {
        if !self.given.contains_key(setting(field).name) && self.default_of(setting(field)).is_empty() {
            return Some(None);
        }
        self.one(field, parse).map(Some)
    }

    /// Several values as one text with commas, which may be empty; or none.
    pub(super) fn joined<T>(&mut self, field: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Option<T>> {
        let Some(raw) = self.given.get(setting(field).name).cloned() else { return Some(None) };
        let text = raw.iter().map(|raw| raw.text.as_str()).collect::<Vec<_>>().join(",");
        let origin = raw.first().map_or(Origin::Default(setting(field).name), |raw| raw.origin.clone());
        parse(&text).map(Some).map_err(|reason| self.refuse(&origin, &reason)).ok()
    }

    /// `none` alone is no value at all.
    pub(super) fn many<T>(&mut self, field: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let raw = self.raw(setting(field));
        if let [only] = raw.as_slice()
            && (only.text == "none" || (only.text.is_empty() && matches!(only.origin, Origin::Default(_))))
        {
            return Some(Vec::new());
        }
        let pieces = raw.iter().flat_map(|raw| {
            raw.text.split(',').map(|piece| Raw { origin: raw.origin.clone(), text: piece.trim().to_owned() })
        });
        // Every piece is parsed before one that failed ends it, so that all problems are named.
        let parsed: Vec<_> = pieces.map(|piece| self.parsed(&piece, &parse)).collect();
        parsed.into_iter().collect()
    }

    pub(super) fn finish(self) -> (Problems, Vec<String>) {
        (Problems(self.problems), self.warnings)
    }

    fn raw(&self, setting: &'static Setting) -> Vec<Raw> {
        self.given.get(setting.name).cloned().unwrap_or_else(|| {
            vec![Raw { origin: Origin::Default(setting.name), text: self.default_of(setting).to_owned() }]
        })
    }

    fn default_of(&self, setting: &'static Setting) -> &'static str {
        self.defaults.get(setting.name).copied().unwrap_or(setting.default)
    }

    fn parsed<T>(&mut self, raw: &Raw, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let result = match raw.text.is_empty() && !matches!(raw.origin, Origin::Default(_)) {
            true => Err("a value is missing".to_owned()),
            false => parse(&raw.text),
        };
        result.map_err(|reason| self.refuse(&raw.origin, &reason)).ok()
    }
}

/// Whether Kubernetes makes this variable for a Service whose name starts with `sandgate`: `..._SERVICE_HOST`,
/// `..._SERVICE_PORT` and `..._SERVICE_PORT_NAME`, and Docker's `..._PORT=tcp://...` and `..._PORT_443_TCP...`.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let has_protocol = |(_, port): (&str, &str)| {
        let (number, rest) = port.split_once('_').unwrap_or_default();
        let known = ["TCP", "UDP", "SCTP"].iter().any(|protocol| rest.split('_').next() == Some(protocol));
        known && number.parse::<u16>().is_ok()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.split_once("_PORT_").is_some_and(has_protocol)
}

/// The setting whose name is near `name`, as text to end a sentence with; empty where none is.
pub(super) fn meant_by(name: &str, shown: impl Fn(&Setting) -> String) -> String {
    let known: Vec<&str> = TABLE.iter().map(|setting| setting.name).collect();
    yaml::nearest(name, &known).map(|nearest| format!("; did you mean {}?", shown(row(nearest)))).unwrap_or_default()
}

/// The same for a variable, without the prefix that all share and that would make all of them near.
fn variable_meant_by(variable: &str) -> String {
    let name = variable.trim_start_matches(VARIABLE_PREFIX).to_ascii_lowercase().replace('_', "-");
    meant_by(&name, Setting::variable)
}

/// The row of a field of `Settings`.
fn setting(field: &str) -> &'static Setting {
    row(&field.replace('_', "-"))
}
