//! The command line: arguments and environment become one [`Action`], or a text with an exit code. Does nothing itself.

mod flags;
mod help;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use sandgate_service::command_line::Stop;
use sandgate_service::logging::LogFormat;

use self::flags::command;
use crate::config::value::name;
use crate::mode::Mode;

/// The health port of a webhook whose configuration does not say otherwise.
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 8081);

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Be the webhook until a signal.
    Serve(Serve),
    /// Print files with the sidecar in their pods.
    Inject(Inject),
    /// Say what would happen to the pods of files.
    Explain(Offline),
    /// List a cluster's pods that lack a sidecar, or have an old one.
    Report(Report),
    /// Say everything that is wrong with a configuration.
    ValidateConfig {
        /// The configuration file.
        file: PathBuf,
    },
    /// Ask a running webhook whether it is well.
    Healthcheck {
        /// Its health port.
        address: SocketAddr,
        /// How long to go on asking until it is well; zero for one question.
        wait: Duration,
    },
}

/// What `serve` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The configuration file.
    pub config: PathBuf,
    /// The webhook's own namespace.
    pub namespace: String,
    /// The webhook's own pod.
    pub pod_name: String,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What the log holds: a level, or a filter of `tracing-subscriber`.
    pub log_level: String,
}

/// Files, and what has to be assumed about their namespace and the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offline {
    /// The files, in their order.
    pub files: Vec<Source>,
    /// The configuration file; without one, the defaults.
    pub config: Option<PathBuf>,
    /// What the namespace's label says.
    pub mode: Mode,
    /// The name of the namespace, for objects that name none.
    pub namespace: Option<String>,
    /// The annotations of the namespace.
    pub annotations: BTreeMap<String, String>,
}

/// Where documents are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// What `inject` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inject {
    /// The files and their situation.
    pub offline: Offline,
    /// Whether a diff is printed in place of the documents.
    pub diff: bool,
}

/// What `report` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The one namespace to look at; without it, every labelled one.
    pub namespace: Option<String>,
    /// How the list is written.
    pub output: Output,
    /// The configuration file; without one, the defaults.
    pub config: Option<PathBuf>,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
}

/// Reads a command line and an environment, of which only `POD_NAMESPACE` and `POD_NAME` are looked at.
///
/// # Errors
/// The text and exit code for help, the version, or wrong usage.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variables: &[(OsString, OsString)],
) -> Result<Action, Stop> {
    let matches = command().try_get_matches_from(arguments)?;
    match matches.subcommand() {
        Some(("serve", matches)) => Ok(Action::Serve(serve(matches, variables)?)),
        Some(("inject", matches)) => {
            Ok(Action::Inject(Inject { offline: offline(matches), diff: matches.get_flag("diff") }))
        }
        Some(("explain", matches)) => Ok(Action::Explain(offline(matches))),
        Some(("report", matches)) => Ok(Action::Report(Report {
            namespace: optional(matches, "namespace"),
            output: if one::<String>(matches, "output") == "json" { Output::Json } else { Output::Table },
            config: optional(matches, "config"),
        })),
        Some(("validate-config", matches)) => Ok(Action::ValidateConfig { file: one(matches, "file") }),
        Some(("healthcheck", matches)) => Ok(Action::Healthcheck {
            address: optional(matches, "address").unwrap_or(ADMIN_ADDRESS),
            wait: optional(matches, "wait").unwrap_or_default(),
        }),
        _ => Err(command().error(clap::error::ErrorKind::MissingSubcommand, "a subcommand is missing").into()),
    }
}

fn serve(matches: &ArgMatches, variables: &[(OsString, OsString)]) -> Result<Serve, Stop> {
    let from_pod = |flag: &str, variable: &str, parse: fn(&str) -> Result<String, String>| {
        let found = variables.iter().find(|(name, value)| name == variable && !value.is_empty());
        let text = optional(matches, flag).or_else(|| found.map(|(_, value)| value.to_string_lossy().into_owned()));
        let help = format!("give it, or set {variable} (see sandgate-webhook serve --help)");
        let wrong = |why: &str| Stop::wrong(format!("error: --{flag}: {why}; {help}\n"));
        let text = text.ok_or_else(|| wrong("is missing"))?;
        parse(&text).map_err(|why| wrong(&why))
    };
    Ok(Serve {
        config: one(matches, "config"),
        namespace: from_pod("namespace", "POD_NAMESPACE", name::label)?,
        pod_name: from_pod("pod-name", "POD_NAME", name::subdomain)?,
        log_format: if one::<String>(matches, "log-format") == "text" { LogFormat::Text } else { LogFormat::Json },
        log_level: one(matches, "log-level"),
    })
}

fn offline(matches: &ArgMatches) -> Offline {
    let label: String = one(matches, "namespace-label");
    let annotations = matches.get_many::<(String, String)>("namespace-annotation").unwrap_or_default();
    Offline {
        files: matches.get_many::<Source>("filename").unwrap_or_default().cloned().collect(),
        config: optional(matches, "config"),
        mode: if label == "none" { Mode::Unlabelled } else { Mode::of_label(Some(&label)) },
        namespace: optional(matches, "namespace"),
        annotations: annotations.cloned().collect(),
    }
}

fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    optional(matches, name).expect("clap refuses a command line without its required arguments")
}

fn optional<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.get_one::<T>(name).cloned()
}

#[cfg(test)]
mod tests;
