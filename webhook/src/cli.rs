//! The command line: arguments and environment become one [`Action`], or a text with an exit code. Does nothing itself.

mod help;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sandgate_policy::quantity;

use crate::config::value::name;
use crate::mode::Mode;

/// The exit code of wrong usage (`EX_USAGE` of sysexits.h), of a configuration that is broken among it.
pub const WRONG_USAGE: u8 = 64;

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

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
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

/// A text instead of an action: help, the version, or what is wrong.
#[derive(Debug)]
pub struct Stop {
    text: String,
    code: u8,
}

impl Stop {
    /// Prints the text: on stdout what was asked for, on stderr what is wrong.
    #[must_use]
    pub fn print(&self) -> ExitCode {
        // Where nobody reads the text, the exit code still says it.
        let _ = match self.code {
            0 => write!(io::stdout(), "{}", self.text),
            _ => write!(io::stderr(), "{}", self.text),
        };
        ExitCode::from(self.code)
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        Self { text: error.render().to_string(), code: if error.use_stderr() { WRONG_USAGE } else { 0 } }
    }
}

/// An error and its causes in one sentence, each said once: many messages hold their cause already.
#[must_use]
pub fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text {
        text if text.is_empty() => cause,
        text if text.contains(&cause) => text,
        text => format!("{text}: {cause}"),
    })
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
    let from_pod = |flag: &str, variable: &str| {
        let found = variables.iter().find(|(name, value)| name == variable && !value.is_empty());
        let text = optional(matches, flag).or_else(|| found.map(|(_, value)| value.to_string_lossy().into_owned()));
        let wrong = |why: &str| Stop {
            text: format!("error: --{flag}: {why}; give it, or set {variable} (see sandgate-webhook serve --help)\n"),
            code: WRONG_USAGE,
        };
        let text = text.ok_or_else(|| wrong("is missing"))?;
        name::subdomain(&text).map_err(|why| wrong(&why))
    };
    Ok(Serve {
        config: one(matches, "config"),
        namespace: from_pod("namespace", "POD_NAMESPACE")?,
        pod_name: from_pod("pod-name", "POD_NAME")?,
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

fn command() -> Command {
    Command::new("sandgate-webhook")
        .version(env!("CARGO_PKG_VERSION"))
        .about(help::ABOUT)
        .help_template(help::TEMPLATE)
        .after_help(help::EXAMPLES)
        .max_term_width(100)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands([
            subcommand("serve", help::SERVE, help::SERVE_EXAMPLES).args(serve_flags()),
            subcommand("inject", help::INJECT, help::INJECT_EXAMPLES)
                .args(offline_flags())
                .arg(flag("diff").action(ArgAction::SetTrue).help("Print what changes, as a unified diff")),
            subcommand("explain", help::EXPLAIN, help::EXPLAIN_EXAMPLES).args(offline_flags()),
            subcommand("report", help::REPORT, help::REPORT_EXAMPLES).args([
                flag("namespace")
                    .short('n')
                    .value_name("NAME")
                    .value_parser(name::label)
                    .help("Look at this namespace only [default: every labelled one]"),
                flag("output")
                    .short('o')
                    .value_name("FORMAT")
                    .value_parser(["table", "json"])
                    .default_value("table")
                    .help("How the list is written"),
                config().help("The configuration that sidecars are compared with [default: none, the defaults]"),
            ]),
            subcommand("validate-config", help::VALIDATE_CONFIG, help::VALIDATE_CONFIG_EXAMPLES).arg(
                Arg::new("file")
                    .value_name("FILE")
                    .required(true)
                    .value_parser(value_parser!(PathBuf))
                    .help("The configuration file"),
            ),
            subcommand("healthcheck", help::HEALTHCHECK, help::HEALTHCHECK_EXAMPLES).args([
                flag("wait")
                    .value_name("TIME")
                    .value_parser(quantity::duration)
                    .help("Go on asking for this long until it is well, such as 10s; without it, ask once"),
                flag("address")
                    .value_name("ADDR:PORT")
                    .value_parser(value_parser!(SocketAddr))
                    .help("The health port (server.adminListen) [default: port 8081 on ::1 and 127.0.0.1]"),
            ]),
        ])
}

fn subcommand(name: &'static str, about: &'static str, examples: &'static str) -> Command {
    Command::new(name).about(about).help_template(help::TEMPLATE).after_help(examples)
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name)
}

fn config() -> Arg {
    flag("config").value_name("FILE").value_parser(value_parser!(PathBuf))
}

fn serve_flags() -> [Arg; 5] {
    [
        config().required(true).help("The configuration file, read again whenever its content changes"),
        flag("namespace").value_name("NAME").help("The webhook's own namespace [POD_NAMESPACE]"),
        flag("pod-name").value_name("NAME").help("The webhook's own pod [POD_NAME]"),
        flag("log-format")
            .value_name("FORMAT")
            .value_parser(PossibleValuesParser::new(["json", "text"]))
            .default_value("json")
            .help("How the log on stderr is written"),
        flag("log-level")
            .value_name("FILTER")
            .value_parser(log_level)
            .default_value("info")
            .help("error, warn, info, debug or trace, or a list such as info,kube_client=debug"),
    ]
}

fn offline_flags() -> [Arg; 5] {
    let source = clap::builder::OsStringValueParser::new().map(|text| match text.as_os_str() {
        dash if dash == "-" => Source::Stdin,
        _ => Source::File(text.into()),
    });
    [
        flag("filename")
            .short('f')
            .value_name("FILE|-")
            .required(true)
            .action(ArgAction::Append)
            .value_parser(source)
            .help("A YAML or JSON file, - for stdin; may be repeated"),
        config().help("The webhook's configuration file [default: none, the defaults]"),
        flag("namespace-label")
            .value_name("VALUE")
            .default_value("enabled")
            .help("The namespace's label sandgate.dev/inject: enabled, required, disabled, or none for no label"),
        flag("namespace-annotation")
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .value_parser(annotation)
            .help("An annotation of the namespace, such as sandgate.dev/policy=strict; may be repeated"),
        flag("namespace").value_name("NAME").value_parser(name::label).help("The namespace of objects that name none"),
    ]
}

fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as sandgate.dev/policy=strict".to_owned()),
    }
}

/// A filter of `tracing-subscriber`, kept as text; it was parsed once here, so it parses again.
fn log_level(text: &str) -> Result<String, String> {
    // A lone word is a level. The filter itself would take a misspelt level for the name of a target.
    let is_level = || ["off", "error", "warn", "info", "debug", "trace"].contains(&text);
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) if text.contains(['=', ',']) || is_level() => Ok(text.to_owned()),
        _ => Err("write off, error, warn, info, debug, trace, or a list such as info,kube_client=debug".to_owned()),
    }
}

#[cfg(test)]
mod tests;
