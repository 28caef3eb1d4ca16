//! Every subcommand and flag, as clap takes them, with its help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, Command, value_parser};
use sandgate_policy::quantity;
use sandgate_service::command_line::{program, subcommand};
use sandgate_service::logging;

use super::{Source, help};
use crate::config::value::name;

/// The whole command line.
pub(super) fn command() -> Command {
    program("sandgate-webhook", help::ABOUT, help::EXAMPLES).subcommands([
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
                .help("The configuration file, or a manifest with its ConfigMap; - is stdin"),
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
    let source = OsStringValueParser::new().map(|text| match text.as_os_str() {
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

/// A filter of the log, kept as text.
fn log_level(text: &str) -> Result<String, String> {
    match logging::is_filter(text) {
        true => Ok(text.to_owned()),
        false => Err("write off, error, warn, info, debug, trace, or a list such as info,kube_client=debug".to_owned()),
    }
}
