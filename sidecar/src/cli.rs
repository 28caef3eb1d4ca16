//! The command line: arguments and environment become one [`Action`], or a text with an exit code. Does nothing itself.

mod help;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sandgate_service::command_line::{Stop, program, subcommand};

use crate::settings::{self, CONFIG_VARIABLE, Kind, Layers, Problems, Setting, Settings, TABLE};
use crate::{environment, learn, run};

/// What the user asked for.
#[derive(Debug)]
pub enum Action {
    /// Be the proxy until a signal.
    Serve(Box<Settings>),
    /// Be the proxy of one command.
    Run(Box<Settings>, run::Options),
    /// Say how a policy judges one request.
    Check {
        /// The policy file.
        policy: PathBuf,
        /// The method of the request.
        method: String,
        /// The URL of the request.
        url: String,
    },
    /// Make or extend a policy from what was asked for.
    Learn {
        /// The audit logs, `-` for the standard input.
        logs: Vec<PathBuf>,
        /// The policy file that is made or extended; without one, the policy is printed.
        policy: Option<PathBuf>,
    },
    /// Say what is wrong with a policy.
    Validate {
        /// The policy file.
        policy: PathBuf,
    },
    /// Ask a running sidecar whether it is well.
    Healthcheck {
        /// Its health port.
        address: SocketAddr,
        /// How long to go on asking until it is well; zero for one question.
        wait: Duration,
    },
    /// Print the environment of a program that uses the proxy.
    Environment {
        /// Where the proxy is.
        proxy: SocketAddr,
        /// The directory with its trust files.
        trust_dir: PathBuf,
    },
}

/// Reads a command line and an environment.
///
/// # Errors
/// The text and exit code for help, the version, or wrong usage with all its problems.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variables: &[(OsString, OsString)],
) -> Result<Action, Stop> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = command().try_get_matches_from(&arguments).map_err(|error| misread(error, &arguments))?;
    match matches.subcommand() {
        Some(("serve", matches)) => {
            let settings = Settings::parse(layers(matches, variables, Layers::default()));
            Ok(Action::Serve(Box::new(settings.map_err(|problems| wrong("serve", &problems))?)))
        }
        Some(("run", matches)) => {
            let layers = layers(matches, variables, Layers::with_defaults(run::DEFAULTS));
            let parsed = run::Options::parse(matches, layers, known(matches, variables));
            let (settings, options) = parsed.map_err(|problems| wrong("run", &problems))?;
            Ok(Action::Run(Box::new(settings), options))
        }
        Some(("check", matches)) => Ok(Action::Check {
            policy: one(matches, "policy"),
            method: one(matches, "method"),
            url: one(matches, "url"),
        }),
        Some(("learn", matches)) => Ok(Action::Learn {
            logs: matches.get_many("audit-log").unwrap_or_default().cloned().collect(),
            policy: matches.get_one("policy").cloned(),
        }),
        Some(("validate", matches)) => Ok(Action::Validate { policy: one(matches, "policy") }),
        Some(("healthcheck", matches)) => healthcheck(matches, variables),
        Some(("environment", matches)) => {
            Ok(Action::Environment { proxy: one(matches, "listen"), trust_dir: one(matches, "trust-dir") })
        }
        _ => Err(command().error(clap::error::ErrorKind::MissingSubcommand, "a subcommand is missing").into()),
    }
}

/// As clap says it, and where the dashes before the command of `run` are missing, that too.
fn misread(error: clap::Error, arguments: &[OsString]) -> Stop {
    let has = |text: &str| arguments.iter().any(|argument| argument == text);
    let without_dashes = error.use_stderr() && arguments.get(1).is_some_and(|first| first == "run") && !has("--");
    let mut stop = Stop::from(error);
    if without_dashes {
        stop.text += "\nput -- before the command: sandgate-sidecar run --allow api.github.com -- curl https://api.github.com/\n";
    }
    stop
}

fn wrong(subcommand: &str, problems: &Problems) -> Stop {
    let help = format!("sandgate-sidecar {subcommand} --help and docs/settings.md say what each setting takes");
    Stop::wrong(format!("{problems}\n\n{help}\n"))
}

/// The variables that may be read.
fn known<'a>(matches: &ArgMatches, variables: &'a [(OsString, OsString)]) -> &'a [(OsString, OsString)] {
    if matches.get_flag("no-env") { &[] } else { variables }
}

fn layers(matches: &ArgMatches, variables: &[(OsString, OsString)], mut layers: Layers) -> Layers {
    let variables = known(matches, variables);
    layers.add_flags(|name| matches.get_many::<String>(name).map(|values| values.map(String::as_str).collect()));
    layers.add_variables(variables);
    let named = variables.iter().find(|(name, value)| name == CONFIG_VARIABLE && !value.is_empty());
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        layers.add_file(&"--config", path);
    } else if let Some((_, path)) = named {
        layers.add_file(&CONFIG_VARIABLE, path.as_ref());
    }
    layers.add_legacy_variables(variables);
    layers
}

fn healthcheck(matches: &ArgMatches, variables: &[(OsString, OsString)]) -> Result<Action, Stop> {
    let address = match matches.get_one::<SocketAddr>("address") {
        Some(address) => *address,
        None => health_port(variables).map_err(|problems| wrong("healthcheck", &problems))?,
    };
    Ok(Action::Healthcheck { address, wait: matches.get_one::<Duration>("wait").copied().unwrap_or_default() })
}

fn health_port(variables: &[(OsString, OsString)]) -> Result<SocketAddr, Problems> {
    let mut layers = Layers::default();
    layers.add_variables(variables);
    layers.add_legacy_variables(variables);
    let health_port = settings::admin_listen(layers)?.into_iter().find(|address| address.port() != 0);
    let none = "SANDGATE_ADMIN_LISTEN: names no health port to ask: give --address";
    health_port.ok_or_else(|| Problems(vec![none.to_owned()]))
}

fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    matches.get_one::<T>(name).cloned().expect("clap refuses a command line without its required arguments")
}

fn command() -> Command {
    program("sandgate-sidecar", help::ABOUT, help::EXAMPLES).subcommands([
        with_settings(subcommand("serve", help::SERVE, help::SERVE_EXAMPLES), &[]),
        with_settings(subcommand("run", help::RUN, help::RUN_EXAMPLES).args(run::flags()), run::DEFAULTS),
        subcommand("check", help::CHECK, help::CHECK_EXAMPLES).args([
            file("policy").long("policy").help("The policy file"),
            Arg::new("method").value_name("METHOD").required(true).help("The method, such as GET"),
            Arg::new("url").value_name("URL").required(true).help("The URL, such as https://api.github.com/zen"),
        ]),
        subcommand("learn", help::LEARN, help::LEARN_EXAMPLES).args([
            file("audit-log")
                .long("audit-log")
                .action(ArgAction::Append)
                .help("A file with audit lines, or - for the standard input; may be given more than once"),
            file("policy")
                .long("policy")
                .required(false)
                .value_parser(learn::policy_file())
                .help("The policy file to extend, or to make; without it, a new policy is printed"),
        ]),
        subcommand("validate", help::VALIDATE, help::VALIDATE_EXAMPLES).arg(file("policy").help("The policy file")),
        subcommand("healthcheck", help::HEALTHCHECK, help::HEALTHCHECK_EXAMPLES).args([
            Arg::new("wait")
                .long("wait")
                .value_name("TIME")
                .value_parser(settings::duration)
                .help("Go on asking for this long until it is well, such as 10s; without it, ask once"),
            Arg::new("address").long("address").value_name("ADDR:PORT").value_parser(settings::listener).help(
                "The health port [default: SANDGATE_ADMIN_LISTEN on loopback, or port 8081 on ::1 and 127.0.0.1]",
            ),
        ]),
        subcommand("environment", help::ENVIRONMENT, help::ENVIRONMENT_EXAMPLES).args([
            Arg::new("trust-dir")
                .long("trust-dir")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The directory that serve writes the trust files into"),
            Arg::new("listen")
                .long("listen")
                .value_name("ADDR:PORT")
                .default_value("127.0.0.1:8080")
                .value_parser(environment::proxy_address)
                .help("Where the proxy is"),
        ]),
    ])
}

fn file(name: &'static str) -> Arg {
    Arg::new(name).value_name("FILE").required(true).value_parser(value_parser!(PathBuf))
}

/// Adds every setting. `defaults` are those that differ from the table's.
fn with_settings(command: Command, defaults: &[(&str, &str)]) -> Command {
    let default_of = |setting: &Setting| {
        let own = defaults.iter().find(|(name, _)| *name == setting.name);
        own.map_or(setting.default, |(_, default)| default)
    };
    command
        .args([
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("A YAML file with settings, keyed by their flags without the dashes in front [SANDGATE_CONFIG]"),
            Arg::new("no-env")
                .long("no-env")
                .action(ArgAction::SetTrue)
                .help("Ignore all variables that are settings, and for run the user's HTTPS_PROXY and the like"),
        ])
        .args(TABLE.iter().map(|setting| setting_flag(setting, default_of(setting))))
}

fn setting_flag(setting: &Setting, default: &str) -> Arg {
    let origin = match default {
        "" => format!(" [{}]", setting.variable()),
        default => format!(" [default: {default}; {}]", setting.variable()),
    };
    let first = setting.help.split_once(". ").map_or(setting.help, |(first, _)| first).trim_end_matches('.');
    let flag = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.placeholder)
        .help_heading(setting.group)
        .help(StyledStr::from(format!("{first}{origin}")))
        .long_help(StyledStr::from(format!("{}{origin}", setting.help)));
    match setting.kind {
        Kind::Many => flag.action(ArgAction::Append),
        Kind::Switch => flag.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::One | Kind::Optional => flag,
    }
}

#[cfg(test)]
mod tests;
