use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use super::*;

mod upstream_proxy;

#[derive(Default)]
struct Given<'a> {
    flags: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
    file: Option<&'a Path>,
}

impl Given<'_> {
    fn parse(&self) -> Result<Settings, Vec<String>> {
        let mut layers = Layers::default();
        layers.add_flags(|name| {
            let values: Vec<&str> =
                self.flags.iter().filter(|(flag, _)| *flag == name).map(|(_, value)| *value).collect();
            (!values.is_empty()).then_some(values)
        });
        let variables: Vec<(OsString, OsString)> =
            self.variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        layers.add_variables(&variables);
        if let Some(path) = self.file {
            layers.add_file(&"--config", path);
        }
        layers.add_legacy_variables(&variables);
        Settings::parse(layers).map_err(|problems| problems.0)
    }
}

fn flags(flags: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    Given { flags, ..Given::default() }.parse()
}

fn variables(variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    Given { variables, ..Given::default() }.parse()
}

fn file(text: &str) -> Result<Settings, Vec<String>> {
    with_file(text, &[], &[])
}

fn with_file(text: &str, flags: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().display().to_string();
    let parsed = Given { flags, variables, file: Some(file.path()) }.parse();
    parsed.map_err(|problems| problems.iter().map(|problem| problem.replace(&path, "sandgate.yaml")).collect())
}

#[test]
fn every_default_is_valid() {
    let settings = flags(&[]).unwrap();
    assert_eq!(settings.listen, ["127.0.0.1:8080".parse().unwrap(), "[::1]:8080".parse().unwrap()]);
    assert_eq!(settings.policy, PolicySource::None);
    assert_eq!((settings.ca, settings.audit_log), (CaSource::Files, AuditLog::Stdout));
    assert_eq!(
        (settings.dial_timeout, settings.first_byte_timeout),
        (Duration::from_secs(10), Duration::from_secs(900))
    );
    assert_eq!((settings.max_head_bytes, settings.max_head_fields, settings.max_streams), (32 << 10, 100, 200));
    assert!(settings.dns.is_empty() && settings.resolve.is_empty() && settings.warnings.is_empty());
}

#[test]
fn ports_and_paths_are_those_of_the_contract() {
    let settings = flags(&[]).unwrap();
    assert!(settings.listen.iter().all(|address| address.port() == sandgate_contract::PROXY_PORT));
    assert!(settings.admin_listen.iter().all(|address| address.port() == sandgate_contract::HEALTH_PORT));
    assert_eq!(settings.ca_dir, Path::new(sandgate_contract::CA_DIR));
    assert_eq!(row("allowed-domains").variable(), sandgate_contract::ALLOWED_DOMAINS_VARIABLE);
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_originals_variable_beats_the_default() {
    const FILE: &str = "listen: 127.0.0.1:3";
    let port = |settings: Settings| settings.listen[0].port();
    let old = ("ProxyConfiguration__ProxyPort", "4");
    let ours = ("SANDGATE_LISTEN", "127.0.0.1:2");
    assert_eq!(port(with_file(FILE, &[("listen", "127.0.0.1:1")], &[ours, old]).unwrap()), 1);
    assert_eq!(port(with_file(FILE, &[], &[ours, old]).unwrap()), 2);
    assert_eq!(port(with_file(FILE, &[], &[old]).unwrap()), 3);
    assert_eq!(port(variables(&[old]).unwrap()), 4);
    assert_eq!(port(variables(&[]).unwrap()), 8080);
}

#[test]
fn everything_wrong_is_named_at_once_with_its_source() {
    let problems = with_file(
        "log-level: loud\nadmin_listen: 8081\nlisten-on: x\nworkers: [1]\n",
        &[("idle-body-timeout", "fast"), ("resolve", "a.test:443"), ("dns", "10.0.0.1,dns.test")],
        &[("SANDGATE_LISTEN", "localhost:8080"), ("SANDGATE_MAX_CONNECTIONS", "0")],
    )
    .unwrap_err();
    let mut starts = [
        "--idle-body-timeout: \"fast\" is not a duration above zero",
        "--resolve: \"a.test:443\" is not HOST:PORT:ADDR",
        "--dns: \"dns.test\" is not an address",
        "SANDGATE_LISTEN: \"localhost:8080\" is not an address and a port",
        "SANDGATE_MAX_CONNECTIONS: \"0\" is not a whole number from 1",
        "sandgate.yaml:1: log-level: \"loud\" is not off, error",
        "sandgate.yaml:2: admin-listen: \"8081\" is not an address and a port",
        "sandgate.yaml:3: listen-on is not a setting; did you mean",
        "sandgate.yaml:4: workers: takes one value, not a list",
    ];
    starts.sort_unstable();
    let mut problems = problems;
    problems.sort_unstable();
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem} / {start}");
    }
}

#[test]
fn a_number_without_end_is_refused_with_its_range() {
    for (name, value, range) in [
        ("workers", "100000", "from 1 to 1024"),
        ("max-connections", "18446744073709551615", "from 1 to 1000000"),
        ("audit-queue", "1000000000", "from 1 to 1000000"),
        ("leaf-cache-size", "1000001", "from 1 to 1000000"),
        ("max-head-fields", "1000000000", "from 1 to 10000"),
        ("max-head-bytes", "1GiB", "from 8KiB to 1MiB"),
        ("max-streams", "2147483648", "from 1 to 2147483647"),
        ("pool-per-host", "100001", "from 1 to 100000"),
        ("pool-size", "100001", "from 1 to 100000"),
        ("pool-h2-connections", "100001", "from 1 to 100000"),
        ("tcp-keepalive", "10h", "from 4s to 9h"),
        ("tcp-keepalive", "1s", "from 4s to 9h"),
    ] {
        let problems = flags(&[(name, value)]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with(&format!("--{name}: \"{value}\"")) && problems[0].ends_with(range),
            "{problems:?}"
        );
    }
}

#[test]
fn two_policies_at_once_are_an_error_that_names_both() {
    let given = Given {
        flags: &[("policy", "p.yaml")],
        variables: &[("SANDGATE_ALLOWED_DOMAINS", "a.test")],
        ..Given::default()
    };
    let problems = given.parse().unwrap_err();
    assert_eq!(problems, ["--policy and SANDGATE_ALLOWED_DOMAINS cannot both be set: keep one of them"]);
}

#[test]
fn the_short_form_keeps_its_text() {
    let source = |settings: Settings| settings.policy;
    let expected = PolicySource::AllowedDomains("a.com,*.b.com".into());
    assert_eq!(source(variables(&[("SANDGATE_ALLOWED_DOMAINS", "a.com,*.b.com")]).unwrap()), expected);
    assert_eq!(source(file("allowed_domains:\n  - a.com\n  - '*.b.com'\n").unwrap()), expected);
    assert_eq!(source(flags(&[("allowed-domains", "")]).unwrap()), PolicySource::AllowedDomains(String::new()));
}

#[test]
fn a_short_form_that_is_no_policy_is_wrong_usage() {
    let problems = variables(&[("SANDGATE_ALLOWED_DOMAINS", "a.com,*,a.com:0")]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.starts_with("SANDGATE_ALLOWED_DOMAINS: ")), "{problems:?}");
}

#[test]
fn an_empty_variable_is_not_set_and_an_empty_flag_is_wrong() {
    assert_eq!(variables(&[("SANDGATE_POLICY", "")]).unwrap().policy, PolicySource::None);
    assert_eq!(flags(&[("policy", "")]).unwrap_err(), ["--policy: a value is missing"]);
    assert_eq!(file("policy:\n").unwrap_err(), ["sandgate.yaml:1: policy: a value is missing"]);
}

#[test]
fn a_foreign_variable_is_only_a_warning() {
    let settings = variables(&[("SANDGATE_HOME", "/"), ("SANDGATE_LISTN", "x"), ("PATH", "/bin")]);
    assert_eq!(
        settings.unwrap().warnings,
        [
            "SANDGATE_HOME is not a setting and is ignored",
            "SANDGATE_LISTN is not a setting and is ignored; did you mean SANDGATE_LISTEN?"
        ]
    );
}

#[test]
fn what_kubernetes_sets_for_a_service_is_passed_over_in_silence() {
    for name in ["SANDGATE", "SANDGATE_WEBHOOK"] {
        let made = [
            ("_SERVICE_HOST", "10.0.0.1"),
            ("_SERVICE_PORT", "443"),
            ("_SERVICE_PORT_HTTPS", "443"),
            ("_PORT", "tcp://10.0.0.1:443"),
            ("_PORT_443_TCP", "tcp://10.0.0.1:443"),
            ("_PORT_443_TCP_PROTO", "tcp"),
            ("_PORT_443_TCP_PORT", "443"),
            ("_PORT_443_TCP_ADDR", "10.0.0.1"),
        ];
        for (end, value) in made {
            let variable = format!("{name}{end}");
            assert_eq!(variables(&[(&variable, value)]).unwrap().warnings, [""; 0], "{variable}");
        }
    }
    for (name, value) in [("SANDGATE_PORT", "8080"), ("SANDGATE_PORT_RANGE", "1"), ("SANDGATE_PORT_x_TCP", "1")] {
        assert_eq!(variables(&[(name, value)]).unwrap().warnings.len(), 1, "{name}");
    }
}

#[test]
fn a_ca_directory_beside_a_ca_that_is_made_is_a_warning() {
    let settings = flags(&[("ca", "generate"), ("ca-dir", "/ca")]).unwrap();
    assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
    assert!(
        settings.warnings[0].starts_with("--ca-dir is ignored, because a CA is made at start"),
        "{:?}",
        settings.warnings
    );
    assert!(flags(&[("ca-dir", "/ca")]).unwrap().warnings.is_empty());
}

#[test]
fn no_variable_is_one_that_kubernetes_makes_for_a_service() {
    for name in TABLE.iter().map(Setting::variable) {
        let service = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end));
        assert!(!service && !name.contains("_PORT_"), "{name}");
    }
}

#[test]
fn the_originals_variables_are_read_with_a_warning_that_names_ours() {
    let settings = variables(&[
        ("ProxyConfiguration__ProxyPort", "9090"),
        ("PROXYCONFIGURATION__HEALTHPORT", "9091"),
        ("ProxyConfiguration__AllowedDomains__10", "c.test"),
        ("ProxyConfiguration__AllowedDomains__2", "b.test"),
        ("ProxyConfiguration__AllowedDomains__0", "a.test"),
        ("ProxyConfiguration__Other", "x"),
    ])
    .unwrap();
    assert_eq!(settings.listen, ["127.0.0.1:9090".parse().unwrap(), "[::1]:9090".parse().unwrap()]);
    assert_eq!(settings.admin_listen, ["[::]:9091".parse().unwrap()]);
    assert_eq!(settings.policy, PolicySource::AllowedDomains("a.test,b.test,c.test".into()));
    assert_eq!(settings.warnings.len(), 4);
    for ours in ["SANDGATE_LISTEN=", "SANDGATE_ADMIN_LISTEN=", "SANDGATE_ALLOWED_DOMAINS=a.test,b.test,c.test"] {
        assert!(settings.warnings.iter().any(|warning| warning.contains(ours)), "{ours}: {:?}", settings.warnings);
    }
}

#[test]
fn a_conflict_of_the_originals_variable_with_ours_is_named_and_ours_holds() {
    let settings = variables(&[
        ("SANDGATE_POLICY", "p.yaml"),
        ("ProxyConfiguration__AllowedDomains__0", "a.test"),
        ("SANDGATE_LISTEN", "127.0.0.1:1"),
        ("ProxyConfiguration__ProxyPort", "not even a port"),
    ])
    .unwrap();
    assert_eq!(settings.policy, PolicySource::File("p.yaml".into()));
    assert_eq!(settings.listen[0].port(), 1);
    let named = |start: &str| settings.warnings.iter().any(|warning| warning.starts_with(start));
    assert!(named("ProxyConfiguration__AllowedDomains__0 is ignored, because SANDGATE_POLICY is set"));
    assert!(named("ProxyConfiguration__ProxyPort is ignored, because SANDGATE_LISTEN is set"));
}

#[test]
fn an_original_port_that_is_none_is_an_error() {
    let problems = variables(&[("ProxyConfiguration__ProxyPort", "0")]).unwrap_err();
    assert_eq!(problems, ["ProxyConfiguration__ProxyPort: \"0\" is not a port from 1 to 65535"]);
}

#[test]
fn lists_come_from_commas_repetition_and_yaml_lists() {
    let expected: [SocketAddr; 2] = ["10.0.0.1:53".parse().unwrap(), "[fd00::1]:5353".parse().unwrap()];
    assert_eq!(flags(&[("dns", "10.0.0.1"), ("dns", "[fd00::1]:5353")]).unwrap().dns, expected);
    assert_eq!(variables(&[("SANDGATE_DNS", "10.0.0.1, [fd00::1]:5353")]).unwrap().dns, expected);
    assert_eq!(file("dns: [10.0.0.1, '[fd00::1]:5353']").unwrap().dns, expected);
}

#[test]
fn a_file_that_is_no_map_is_refused_with_its_line() {
    assert!(file("# nothing yet\n").is_ok());
    let problems = file("- listen\n").unwrap_err();
    assert_eq!(problems, ["sandgate.yaml:1: expected a map of settings, such as: log-level: debug"]);
    let problems = file("drain-grace: 1s\ndrain_grace: 2s\n").unwrap_err();
    assert_eq!(problems, ["sandgate.yaml:2: drain-grace stands twice, with - and with _: keep one"]);
    let problems = file("dns: {a: b}\n").unwrap_err();
    assert_eq!(problems, ["sandgate.yaml:1: dns: takes plain values, not lists or maps inside"]);
}

#[test]
fn a_file_that_is_missing_is_named_with_who_named_it() {
    let given = Given { file: Some(Path::new("/nonexistent/s.yaml")), ..Given::default() };
    assert!(given.parse().unwrap_err()[0].starts_with("--config: /nonexistent/s.yaml: No such file"));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let problems = flags(&[("ca-name-constraints", "true")]).unwrap_err();
    assert!(problems[0].starts_with("--ca-name-constraints: only a CA that is made here"), "{problems:?}");
    let problems = flags(&[("admin-listen", "[::1]:8080")]).unwrap_err();
    assert!(problems[0].starts_with("--admin-listen: [::1]:8080 is where the proxy listens"), "{problems:?}");
    assert_eq!(flags(&[("listen", "none")]).unwrap_err(), ["--listen: the proxy needs at least one address"]);
    assert!(flags(&[("admin-listen", "none")]).unwrap().admin_listen.is_empty());
}

#[test]
fn no_setting_turns_verification_off() {
    let suspicious = ["insecure", "verify", "skip", "trust-all", "no-check"];
    for setting in TABLE {
        assert!(!suspicious.iter().any(|word| setting.name.contains(word)), "{}", setting.name);
    }
}

#[test]
fn names_are_unique_and_helped() {
    let names: HashSet<_> = TABLE.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), TABLE.len());
    for setting in TABLE {
        assert!(setting.help.ends_with('.') && !setting.help.contains("  "), "{}: {}", setting.name, setting.help);
    }
}
