use sandgate_service::command_line::WRONG_USAGE;

use super::*;

fn parsed(line: &str) -> Result<Action, Stop> {
    parsed_in(line, &[])
}

fn parsed_in(line: &str, variables: &[(&str, &str)]) -> Result<Action, Stop> {
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    parse(["sandgate-webhook"].into_iter().chain(line.split_whitespace()).map(OsString::from), &variables)
}

fn offline_of(line: &str) -> Offline {
    match parsed(line) {
        Ok(Action::Inject(Inject { offline, .. }) | Action::Explain(offline)) => offline,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn serve_takes_its_place_from_flags_else_from_the_pod_s_variables() {
    let pod = [("POD_NAMESPACE", "sandgate-system"), ("POD_NAME", "sandgate-webhook-0")];
    let Ok(Action::Serve(serve)) = parsed_in("serve --config c.yaml", &pod) else { panic!("it is complete") };
    assert_eq!((serve.namespace.as_str(), serve.pod_name.as_str()), ("sandgate-system", "sandgate-webhook-0"));
    assert_eq!((serve.log_format, serve.log_level.as_str()), (LogFormat::Json, "info"));
    let Ok(Action::Serve(serve)) = parsed_in("serve --config c.yaml --namespace other", &pod) else {
        panic!("so is it")
    };
    assert_eq!(serve.namespace, "other");
    for (line, variables, expected) in [
        ("serve --config c.yaml", &[][..], "--namespace: is missing; give it, or set POD_NAMESPACE"),
        ("serve --config c.yaml --namespace a", &[("POD_NAME", "")], "--pod-name: is missing"),
        ("serve --config c.yaml --namespace A_B --pod-name b", &[], "is not a name"),
        ("serve --namespace a --pod-name b", &[], "--config <FILE>"),
        ("serve --config c --namespace a --pod-name b --log-level loud", &[], "write off, error, warn"),
        ("serve --config c --namespace a --pod-name b --log-format xml", &[], "json, text"),
    ] {
        let stop = parsed_in(line, variables).unwrap_err();
        assert!(stop.code == WRONG_USAGE && stop.text.contains(expected), "{line}: {}", stop.text);
    }
}

#[test]
fn files_are_taken_in_their_order_and_a_dash_is_stdin() {
    let Ok(Action::Inject(inject)) = parsed("inject -f b.yaml -f - -f a.yaml --diff") else { panic!("it is complete") };
    let file = |name: &str| Source::File(name.into());
    assert_eq!((inject.offline.files, inject.diff), (vec![file("b.yaml"), Source::Stdin, file("a.yaml")], true));
    assert!(parsed("inject").unwrap_err().text.contains("--filename <FILE|->"));
    assert!(parsed("explain -f a --diff").is_err(), "explain has nothing to compare");
}

#[test]
fn the_namespace_is_enabled_unless_the_flags_say_otherwise() {
    let plain = offline_of("explain -f a.yaml");
    assert_eq!((plain.mode, plain.namespace, plain.annotations.len(), plain.config), (Mode::Enabled, None, 0, None));
    for (label, mode) in [
        ("enabled", Mode::Enabled),
        ("required", Mode::Required),
        ("disabled", Mode::Disabled),
        ("none", Mode::Unlabelled),
        ("Required", Mode::Invalid),
    ] {
        assert_eq!(offline_of(&format!("inject -f a --namespace-label {label}")).mode, mode);
    }
    let given = offline_of("inject -f a --namespace-annotation sandgate.dev/policy=a=b --namespace-annotation x=");
    let given: Vec<_> = given.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(given, [("sandgate.dev/policy", "a=b"), ("x", "")]);
    for wrong in ["--namespace-annotation x", "--namespace-annotation =x", "--namespace A", "--namespace a.b"] {
        assert_eq!(parsed(&format!("inject -f a {wrong}")).unwrap_err().code, WRONG_USAGE, "{wrong}");
    }
}

#[test]
fn report_and_healthcheck_have_defaults() {
    let report = Report { namespace: None, output: Output::Table, config: None };
    assert_eq!(parsed("report").unwrap(), Action::Report(report));
    let report = Report { namespace: Some("a".into()), output: Output::Json, config: Some("c".into()) };
    assert_eq!(parsed("report -n a -o json --config c").unwrap(), Action::Report(report));
    let Ok(Action::Healthcheck { address, wait }) = parsed("healthcheck") else { panic!("it needs nothing") };
    assert_eq!((address.to_string().as_str(), wait), ("[::]:8081", Duration::ZERO));
    assert!(parsed("healthcheck --wait 10s --address 127.0.0.1:9").is_ok());
    for wrong in ["healthcheck --wait 10", "healthcheck --address 8081", "report -o yaml", "validate-config", ""] {
        assert_eq!(parsed(wrong).unwrap_err().code, WRONG_USAGE, "{wrong}");
    }
}

#[test]
fn help_and_version_are_no_failure() {
    for line in ["--help", "--version", "inject --help", "serve --help", "report --help"] {
        let stop = parsed(line).unwrap_err();
        assert_eq!(stop.code, 0, "{line}");
        assert!(!stop.text.is_empty());
    }
}

#[test]
fn the_command_is_well_formed() {
    command().debug_assert();
}
