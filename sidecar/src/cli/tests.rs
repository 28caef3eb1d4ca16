use sandgate_service::command_line::WRONG_USAGE;

use super::*;
use crate::settings::{AuditLog, CaSource, PolicySource};
use crate::summary;

fn parsed(line: &str, variables: &[(&str, &str)]) -> Result<Action, Stop> {
    let variables: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    parse(std::iter::once("sandgate-sidecar").chain(line.split_whitespace()).map(OsString::from), &variables)
}

fn serve(line: &str, variables: &[(&str, &str)]) -> Settings {
    match parsed(&format!("serve {line}"), variables) {
        Ok(Action::Serve(settings)) => *settings,
        other => panic!("{other:?}"),
    }
}

fn run(line: &str, variables: &[(&str, &str)]) -> (Settings, run::Options) {
    match parsed(&format!("run {line}"), variables) {
        Ok(Action::Run(settings, options)) => (*settings, options),
        other => panic!("{other:?}"),
    }
}

fn problems(line: &str, variables: &[(&str, &str)]) -> String {
    let stop = parsed(line, variables).unwrap_err();
    assert_eq!(stop.code, WRONG_USAGE, "{line}");
    stop.text
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn no_env_ignores_every_variable() {
    let variables =
        [("SANDGATE_LISTEN", "127.0.0.1:1"), ("ProxyConfiguration__HealthPort", "x"), (CONFIG_VARIABLE, "/x")];
    let settings = serve("--no-env", &variables);
    assert_eq!(settings.listen[0].port(), 8080);
    assert!(settings.warnings.is_empty());
}

#[test]
fn the_file_may_be_named_by_a_variable() {
    assert!(problems("serve", &[(CONFIG_VARIABLE, "/nonexistent")]).starts_with("SANDGATE_CONFIG: /nonexistent: "));
}

#[test]
fn a_switch_needs_no_value() {
    assert!(serve("--ca generate --ca-name-constraints", &[]).ca_name_constraints);
    assert!(
        !serve("--ca generate --ca-name-constraints=false", &[("SANDGATE_CA_NAME_CONSTRAINTS", "1")])
            .ca_name_constraints
    );
}

#[test]
fn run_has_defaults_of_its_own_and_takes_every_setting() {
    let (settings, options) = run("--allow a.test --dial-timeout 3s -- cmd -x --allow b", &[]);
    assert_eq!(settings.listen, ["127.0.0.1:0".parse().unwrap()]);
    assert!(settings.admin_listen.is_empty());
    assert_eq!((settings.ca, settings.audit_log), (CaSource::Generate, AuditLog::None));
    assert_eq!(settings.dial_timeout, Duration::from_secs(3));
    assert_eq!(options.program, "cmd");
    assert_eq!(options.arguments, ["-x", "--allow", "b"]);
    assert_eq!(options.summary, summary::Format::Text);
    let PolicySource::Text(policy) = settings.policy else { panic!("{:?}", settings.policy) };
    assert!(policy.contains("host: \"a.test\"") && !policy.contains("b"), "{policy}");
}

#[test]
fn run_without_a_policy_refuses_everything() {
    assert_eq!(run("-- cmd", &[]).0.policy, PolicySource::None);
    assert_eq!(run("--policy p.yaml -- cmd", &[]).0.policy, PolicySource::File("p.yaml".into()));
}

#[test]
fn everything_wrong_with_run_is_named_at_once() {
    let line = "run --allow a/b --private-cidr 10.0.0.1/8 --summary xml --audit-log - --workers 0 -- cmd";
    let text = problems(line, &[("SANDGATE_POLICY", "p.yaml")]);
    for start in [
        "--allow: \"a/b\" has a path",
        "--allow: cannot be used beside SANDGATE_POLICY",
        "--private-cidr: 10.0.0.1/8 has bits set behind its prefix; write 10.0.0.0/8",
        "--summary: \"xml\"",
        "--audit-log: stdout belongs to the command",
        "--workers: \"0\"",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start}\n{text}");
    }
    assert!(problems("run --private-cidr 10.0.0.0/8 -- cmd", &[]).starts_with("--private-cidr: belongs to --allow"));
}

#[test]
fn learning_takes_a_file_and_the_ranges_of_private_addresses() {
    let (settings, options) = run("--learn p.yaml --private-cidr 10.0.0.0/8 -- cmd", &[]);
    let learn = run::Learn { file: "p.yaml".into(), private_cidrs: vec!["10.0.0.0/8".parse().unwrap()] };
    assert_eq!((settings.policy, options.learn), (PolicySource::None, Some(learn)));
}

#[test]
fn what_contradicts_learning_is_named() {
    let text =
        problems("run --learn p.yaml --allow a.test --ca-name-constraints -- cmd", &[("SANDGATE_POLICY", "q.yaml")]);
    for start in [
        "--learn: cannot be used beside SANDGATE_POLICY",
        "--learn: cannot be used beside --allow",
        "--ca-name-constraints: cannot be used beside --learn",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start}\n{text}");
    }
    let text = problems("run --learn p.yaml --policy p.yaml -- cmd", &[]);
    assert!(text.starts_with("--learn: cannot be used beside --policy: what its file allows"), "{text}");
    let text = problems("run --learn p.yaml -- cmd", &[("SANDGATE_ALLOWED_DOMAINS", "a.test")]);
    assert!(text.starts_with("--learn: cannot be used beside SANDGATE_ALLOWED_DOMAINS"), "{text}");
}

#[test]
fn learn_takes_several_logs() {
    let Ok(Action::Learn { logs, policy }) = parsed("learn --audit-log a.log --audit-log - --policy p.yaml", &[])
    else {
        panic!("no logs")
    };
    assert_eq!((logs, policy), (vec!["a.log".into(), "-".into()], Some("p.yaml".into())));
}

#[test]
fn what_is_wrong_names_the_help_that_says_more() {
    for (subcommand, line) in [("serve", "serve --workers 0"), ("run", "run --workers 0 -- cmd")] {
        let text = problems(line, &[]);
        assert!(text.contains(&format!("sandgate-sidecar {subcommand} --help and docs/settings.md")), "{text}");
    }
}

#[test]
fn wrong_usage_is_one_exit_code() {
    for line in [
        "",
        "learn",
        "serve --nonsense",
        "run --allow a.test",
        "run cmd",
        "check GET",
        "validate",
        "healthcheck --wait x",
        "x",
    ] {
        problems(line, &[]);
    }
}

#[test]
fn the_environment_is_for_a_proxy_that_clients_can_connect_to() {
    for listen in ["0.0.0.0:8080", "[::]:8080", "[::]:0", "127.0.0.1:0"] {
        let text = problems(&format!("environment --trust-dir /x --listen {listen}"), &[]);
        assert!(text.contains(listen) && text.contains("such as 127.0.0.1:8080"), "{text}");
    }
}

#[test]
fn examples_and_what_follows_them_fit_into_the_width_of_help() {
    for subcommand in ["", "serve", "run", "check", "learn", "validate", "healthcheck", "environment"] {
        let command = command();
        let found = command.find_subcommand(subcommand).unwrap_or(&command);
        let examples = found.get_after_help().unwrap().to_string();
        for line in examples.lines() {
            assert!(line.len() <= 100, "{subcommand}: {line}");
        }
        let stop = parsed(&format!("{subcommand} --help"), &[]).unwrap_err();
        assert!(stop.text.contains(&examples), "{subcommand} --help wraps its examples: {}", stop.text);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for line in
        ["--help", "--version", "serve --help", "run -h", "check --help", "validate -h", "learn -h", "healthcheck -h"]
    {
        let stop = parsed(line, &[]).unwrap_err();
        assert_eq!(stop.code, 0, "{line}");
    }
}

#[test]
fn help_of_run_says_that_the_command_is_not_confined() {
    assert!(parsed("run --help", &[]).unwrap_err().text.contains("The command is not confined"));
}

#[test]
fn help_of_run_names_its_own_defaults() {
    let help = parsed("run -h", &[]).unwrap_err().text;
    assert!(help.contains("[default: 127.0.0.1:0;") && !help.contains("8080"), "{help}");
}

#[test]
fn the_health_port_is_the_one_that_serve_would_have() {
    let address = |line, variables: &[(&str, &str)]| match parsed(line, variables) {
        Ok(Action::Healthcheck { address, wait }) => (address.to_string(), wait),
        other => panic!("{other:?}"),
    };
    assert_eq!(address("healthcheck", &[]), ("[::]:8081".into(), Duration::ZERO));
    let variables = [("SANDGATE_ADMIN_LISTEN", "127.0.0.1:9")];
    assert_eq!(address("healthcheck --wait 10s", &variables), ("127.0.0.1:9".into(), Duration::from_secs(10)));
    assert_eq!(address("healthcheck --address 127.0.0.1:7", &variables).0, "127.0.0.1:7");
    problems("healthcheck", &[("SANDGATE_ADMIN_LISTEN", "none")]);
}
