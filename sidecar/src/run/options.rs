//! What `run` takes besides settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use ipnet::IpNet;
use sandgate_policy::private_cidr;

use super::allowed::{Allowed, policy_text, warnings};
use super::user_proxy::UserProxy;
use crate::settings::{Layers, PolicySource, Problems, Settings};
use crate::summary;

const HEADING: &str = "Run";

/// Where settings of `run` differ from those of `serve`: it is for one command on one machine, and leaves nothing
/// behind. A command that has ended has no more use for its streams, so the proxy hardly waits for them.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("listen", "127.0.0.1:0"),
    ("admin-listen", "none"),
    ("ca", "generate"),
    ("audit-log", "none"),
    ("log-format", "text"),
    ("log-level", "warn"),
    ("drain-grace", "2s"),
    ("drain-quiet", "0"),
];

/// What `run` takes besides settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to run.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How the summary is written.
    pub summary: summary::Format,
    /// What the user is told before the command starts.
    pub said: Vec<String>,
    /// What is to be learnt, where something is.
    pub learn: Option<Learn>,
}

/// What `--learn` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learn {
    /// The policy file that is made or extended.
    pub file: PathBuf,
    /// The ranges of `--private-cidr`.
    pub private_cidrs: Vec<IpNet>,
}

/// The flags of `run` besides settings.
pub fn flags() -> [Arg; 5] {
    [
        Arg::new("allow").long("allow").value_name("HOST[:PORT]").action(ArgAction::Append).help_heading(HEADING).help(
            "A host to allow, exact or *.suffix, over HTTPS on port 443 unless named; http://HOST for plain HTTP",
        ),
        Arg::new("private-cidr")
            .long("private-cidr")
            .value_name("CIDR")
            .action(ArgAction::Append)
            .help_heading(HEADING)
            .help("Addresses that allowed or learnt hosts may have although they are not public, such as 127.0.0.0/8"),
        Arg::new("learn")
            .long("learn")
            .value_name("FILE")
            .value_parser(crate::learn::policy_file())
            .help_heading(HEADING)
            .help("Refuse no host, and write at the end a policy that allows what was asked for; extends the file if it is there"),
        Arg::new("summary")
            .long("summary")
            .value_name("text|json|none")
            .default_value("text")
            .help_heading(HEADING)
            .help("How to write on stderr which hosts were reached and refused, at the end"),
        Arg::new("command")
            .value_name("COMMAND")
            .value_parser(value_parser!(OsString))
            .num_args(1..)
            .last(true)
            .required(true)
            .help("The command and its arguments"),
    ]
}

impl Options {
    /// Parses the flags of `run` and the settings in `layers`; `--allow` becomes the policy. Where no setting names an
    /// upstream proxy, it is that of `variables`, the user's own.
    ///
    /// # Errors
    /// Every problem of both.
    pub fn parse(
        matches: &ArgMatches,
        mut layers: Layers,
        variables: &[(OsString, OsString)],
    ) -> Result<(Settings, Self), Problems> {
        let ranges = ranges(matches, &mut layers);
        let learn = learn(matches, &ranges, &mut layers);
        let policy = allowed(matches, &ranges, &mut layers);
        if layers.text("audit-log") == Some("-") {
            layers.refuse_setting("audit-log", "stdout belongs to the command: name a file, or none");
        }
        let summary = summary::Format::parse(text(matches, "summary").next().unwrap_or_default());
        if let Err(reason) = &summary {
            layers.refuse(&"--summary", reason);
        }
        let user = user_proxy(variables, &mut layers);
        let own_list = layers.origin("upstream-no-proxy").is_some();
        let mut settings = Settings::parse_beside(layers, user.as_ref().map(|user| user.proxies.clone()))?;
        if let Some(user) = user.as_ref().filter(|_| !own_list) {
            settings.upstream_no_proxy.clone_from(&user.direct);
        }
        if let Some((policy, warnings)) = policy {
            settings.policy = PolicySource::Text(policy);
            settings.warnings.extend(warnings);
        }
        let mut command = matches.get_many::<OsString>("command").unwrap_or_default().cloned();
        let program = command.next().unwrap_or_default();
        let said = user.unwrap_or_default().said;
        Ok((
            settings,
            Self { program, arguments: command.collect(), summary: summary.unwrap_or_default(), said, learn },
        ))
    }
}

/// What the user's variables say, unless a setting says something.
fn user_proxy(variables: &[(OsString, OsString)], layers: &mut Layers) -> Option<UserProxy> {
    if layers.origin("upstream-proxy").is_some() {
        return None;
    }
    let user = UserProxy::of(variables, layers.origin("upstream-proxy-auth-file").is_some());
    user.map_err(|problems| problems.into_iter().for_each(|problem| layers.refuse_whole(problem))).ok()
}

/// The ranges of `--private-cidr`.
fn ranges(matches: &ArgMatches, layers: &mut Layers) -> Vec<IpNet> {
    let mut ranges = Vec::new();
    for value in text(matches, "private-cidr") {
        match private_cidr(value) {
            Ok(range) => ranges.push(range),
            Err(reason) => layers.refuse(&"--private-cidr", &reason),
        }
    }
    ranges
}

/// What `--learn` asks for. Whatever else would be a policy contradicts it.
fn learn(matches: &ArgMatches, ranges: &[IpNet], layers: &mut Layers) -> Option<Learn> {
    let file = matches.get_one::<PathBuf>("learn")?.clone();
    for rival in ["policy", "allowed-domains"] {
        if let Some(origin) = layers.origin(rival).cloned() {
            let reason = format!(
                "cannot be used beside {origin}: what its file allows is allowed already (--no-env ignores variables)"
            );
            layers.refuse(&"--learn", &reason);
        }
    }
    if matches.contains_id("allow") {
        layers
            .refuse(&"--learn", "cannot be used beside --allow: every host is let through, and learnt; remove --allow");
    }
    if layers.text("ca-name-constraints").is_some_and(|text| text != "false" && text != "0") {
        layers.refuse_setting("ca-name-constraints", "cannot be used beside --learn, which intercepts every host");
    }
    Some(Learn { file, private_cidrs: ranges.to_vec() })
}

/// The text of the policy that `--allow` and `--private-cidr` make, and its warnings; `None` without `--allow`.
fn allowed(matches: &ArgMatches, ranges: &[IpNet], layers: &mut Layers) -> Option<(String, Vec<String>)> {
    let mut destinations: Vec<Allowed> = Vec::new();
    for value in text(matches, "allow") {
        match Allowed::parse(value) {
            Ok(allowed) if destinations.contains(&allowed) => {}
            Ok(allowed) => destinations.push(allowed),
            Err(reason) => layers.refuse(&"--allow", &reason),
        }
    }
    if !matches.contains_id("allow") {
        if matches.contains_id("private-cidr") && !matches.contains_id("learn") {
            let reason = "belongs to --allow or --learn; in a policy file, set private_cidrs of a destination";
            layers.refuse(&"--private-cidr", reason);
        }
        return None;
    }
    for rival in ["policy", "allowed-domains"] {
        if let Some(origin) = layers.origin(rival).cloned() {
            layers
                .refuse(&"--allow", &format!("cannot be used beside {origin}: keep one (--no-env ignores variables)"));
        }
    }
    let text = policy_text(&destinations, ranges);
    let warnings = warnings(&text, &destinations);
    Some((text, warnings))
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> impl Iterator<Item = &'a str> {
    matches.get_many::<String>(name).unwrap_or_default().map(String::as_str)
}
