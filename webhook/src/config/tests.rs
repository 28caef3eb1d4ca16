use super::*;

fn errors(text: &str) -> String {
    Config::parse(text.as_bytes()).map_or_else(|errors| errors.to_string(), |_| String::new())
}

fn parsed(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_file_that_says_nothing_is_the_default() {
    for text in ["", "# nothing\n", "~", "{}", "sidecar:\nca: {}\n", "sidecar:\n  tolerated:\n"] {
        assert_eq!(parsed(text), Config::default(), "{text:?}");
    }
}

#[test]
fn the_example_is_valid_and_no_default() {
    let example = parsed(EXAMPLE);
    assert_eq!(example.sidecar.may_precede, ["istio-init"]);
    assert_eq!(example.sidecar.resources.memory_limit.to_string(), "256Mi");
    assert_eq!(example.sidecar.tolerated_env, ["DD_AGENT_HOST"]);
    assert_eq!(example.dns.servers[0].to_string(), "10.96.0.10:53");
    assert_eq!(example.server.listen.port(), 9443);
    assert_ne!(example.hash(), Config::default().hash());
}

/// Every row with a value of its own, as a file would say it.
const WHOLE: &str = r#"
sidecar:
  image: localhost:5000/sidecar:2
  imagePullPolicy: Always
  imagePullSecrets: [registry]
  acceptedImages: ["localhost:5000/sidecar:1"]
  withdrawnRenderings: ["0123456789ab"]
  uid: 4242
  proxyPort: 18080
  healthPort: 18081
  resources: {requests: {cpu: 11m, memory: 33Mi}, limits: {cpu: 1100m, memory: 129Mi}}
  resourceBounds:
    min: {requests: {cpu: 6m, memory: 25Mi}, limits: {cpu: 51m, memory: 65Mi}}
    max: {requests: {cpu: "5", memory: 3Gi}, limits: {cpu: "9", memory: 5Gi}}
  mayPrecede: [istio-init]
  tolerated: {env: [DD_AGENT_HOST], mounts: [datadog]}
  logLevel: debug
  upstreamCaConfigMap: corporate-roots
ca: {mode: secret, secretName: other-ca}
policy: {configMap: egress}
environment: {noProxy: [.svc], apiServer: refused}
dns: {servers: [10.96.0.10]}
server:
  listen: 0.0.0.0:9443
  adminListen: 0.0.0.0:9081
  drainDelay: 0s
  drainGrace: 20s
  maxConnections: 100
  maxBodyBytes: 4MiB
  handshakeTimeout: 1s
  requestTimeout: 1500ms
  idleTimeout: 60s
certificate:
  mode: files
  dir: /tls
  secretName: a
  serviceName: b
  caLifetime: 48h
  servingLifetime: 1h
  rotateBefore: 12h
  trustDelay: 5s
  mutatingConfiguration: c
  validatingConfiguration: d
"#;

#[test]
fn every_setting_can_be_set_and_is_read_into_its_own_field() {
    let (whole, default) = (parsed(WHOLE), Config::default());
    for row in SECTIONS.iter().flat_map(|section| section.rows) {
        assert_ne!((row.show)(&whole), (row.show)(&default), "{} is not read, or shown from another field", row.path);
    }
    assert_eq!(whole.certificate.source, CertificateSource::Files("/tls".into()));
    assert_eq!(whole.sidecar.resources_max.memory_limit.to_string(), "5Gi");
    assert_eq!(whole.sidecar.upstream_ca_config_map.as_deref(), Some("corporate-roots"));
    assert_eq!((whole.ca.mode, whole.environment.api_server), (CaMode::Secret, ApiServer::Refused));
    assert_eq!(whole.server.request_timeout, Duration::from_millis(1500));
}

#[test]
fn what_is_shown_is_read_back_as_the_same() {
    let whole = parsed(WHOLE);
    for section in SECTIONS {
        for row in section.rows {
            let mut lines = String::new();
            for (depth, key) in row.path.split('.').enumerate() {
                lines.push_str(&format!("{}{key}:\n", "  ".repeat(depth)));
            }
            let text = format!("{} {}\n", lines.trim_end(), (row.show)(&whole));
            // Alone it may contradict the others' defaults; then the message is about that.
            let (config, _) = reading::read(text.as_bytes());
            let expected = if row.path == "certificate.dir" { Config::default() } else { whole.clone() };
            assert_eq!((row.show)(&config), (row.show)(&expected), "{text}");
        }
    }
}

#[test]
fn every_problem_of_a_file_is_reported_with_its_line_and_key() {
    let text = "sidecar:\n  imag: a\n  uid: 0\n  proxyPort: 80\n  resources:\n    limits: {cpu: ten}\nimage: x\n\
                dns: [10.0.0.1]\nca:\n  mode: pods\nserver:\n  listen: [a]\npolicy:\n  configMap:\nzzz: 1\n";
    let expected = [
        "line 2: sidecar.imag: there is no such key; did you mean image?",
        "line 3: sidecar.uid: \"0\" is not a whole number from 1 to 2147483647",
        "line 4: sidecar.proxyPort: \"80\" is not a whole number from 1024 to 65535",
        "line 6: sidecar.resources.limits.cpu: \"ten\" is no quantity; write 100m, 0.5, 64Mi or 1Gi",
        "line 7: image: there is no such key; did you mean sidecar.image?",
        "line 8: dns: has to be a mapping with the keys servers",
        "line 10: ca.mode: \"pods\" is not known; write pod or secret",
        "line 12: server.listen: has to be a single value",
        "line 14: policy.configMap: has no value; write one or remove it",
        "line 15: zzz: there is no such key; the keys here are sidecar, ca, policy, environment, dns, server, certificate",
    ];
    assert_eq!(errors(text).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn odd_files_are_refused_and_never_panic() {
    for (text, expected) in [
        ("[]", "line 1: has to be a mapping with the keys sidecar, ca"),
        ("text", "line 1: has to be a mapping"),
        ("sidecar: {uid: 1}\nsidecar: {uid: 2}\n", "line 2: the key \"sidecar\" stands twice"),
        ("sidecar: {uid: 1, uid: 2}", "stands twice"),
        ("sidecar: &a {uid: 1}", "anchors"),
        ("sidecar: {uid: !!int 1}", "tags"),
        ("--- {}\n--- {}\n", "second document"),
        ("sidecar: {", "not valid YAML"),
        ("sidecar: {image: [a]}", "sidecar.image: has to be a single value"),
        ("sidecar: {mayPrecede: a}", "sidecar.mayPrecede: has to be a list"),
        ("sidecar: {mayPrecede: [a, a]}", "sidecar.mayPrecede[1]: \"a\" stands twice"),
        ("sidecar: {mayPrecede: [~]}", "sidecar.mayPrecede[0]: has no value"),
        ("sidecar: {mayPrecede: [[a]]}", "sidecar.mayPrecede[0]: has to be a single value"),
        ("sidecar: {resources: 1}", "sidecar.resources: has to be a mapping with the keys requests, limits"),
        ("sidecar: {resources: {requests: {gpu: 1}}}", "requests.gpu: there is no such key; did you mean cpu?"),
        ("certificate: {dir: /tls}", "certificate.dir: has a meaning only beside mode: files"),
        ("\u{0}", "line 1"),
    ] {
        assert!(errors(text).contains(expected), "{text:?}: {:?}", errors(text));
    }
    assert!(Config::parse(b"a: \xff").is_err());
    let many = format!("environment: {{noProxy: [{}]}}", (0..101).map(|n| format!("h{n},")).collect::<String>());
    assert!(errors(&many).contains("has 101 items; at most 100"), "{}", errors(&many));
}

#[test]
fn no_cut_or_change_of_a_file_makes_it_panic_and_problems_name_a_line_of_it() {
    let bytes = WHOLE.as_bytes();
    for place in 0..bytes.len() {
        let changed = |byte: u8| {
            let mut text = bytes.to_vec();
            text[place] = byte;
            text
        };
        for text in [bytes[..place].to_vec(), changed(b'['), changed(b':'), changed(0xff), changed(b'\n')] {
            let lines = text.split(|byte| *byte == b'\n').count();
            let problems = Config::parse(&text).map_or_else(|errors| errors.0, |_| Vec::new());
            for problem in problems {
                assert!((1..=lines).contains(&problem.line), "{problem} in {:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}

#[test]
fn settings_that_contradict_each_other_are_told_at_the_one_that_the_file_has() {
    for (text, expected) in [
        ("sidecar: {proxyPort: 8081}", "line 1: sidecar.proxyPort: proxyPort and healthPort are both 8081"),
        ("sidecar:\n  acceptedImages:\n  - a:1\n  image: a:1", "line 3: sidecar.acceptedImages: a:1 is sidecar.image"),
        (
            "sidecar: {resources: {requests: {cpu: '2'}}}",
            "sidecar.resources.requests.cpu is 2, and sidecar.resources.limits.cpu is 1; it may not be more",
        ),
        (
            "sidecar: {resources: {limits: {memory: 5Gi}}}",
            "sidecar.resources.limits.memory is 5Gi, and sidecar.resourceBounds.max.limits.memory is 4Gi",
        ),
        (
            "sidecar: {resourceBounds: {min: {requests: {cpu: 20m}}}}",
            "min.requests.cpu is 20m, and sidecar.resources.requests.cpu is 10m",
        ),
        ("sidecar: {resourceBounds: {max: {limits: {memory: 63Mi}}}}", "min.limits.memory is 64Mi"),
        (
            "server: {adminListen: '[::1]:8443'}",
            "line 1: server.adminListen: listen and adminListen both have port 8443",
        ),
        ("server: {drainGrace: 5s}", "line 1: server.drainGrace: drainDelay is a part of drainGrace"),
        ("certificate: {caLifetime: 24h}", "certificate.caLifetime: servingLifetime has to be less"),
        ("certificate: {rotateBefore: 8760h}", "certificate.rotateBefore: rotateBefore has to be less"),
        ("certificate: {rotateBefore: 1m, trustDelay: 60s}", "certificate.trustDelay: trustDelay has to be less"),
    ] {
        assert!(errors(text).contains(expected), "{text:?}: {:?}", errors(text));
    }
    // What is wrong by itself is not compared with anything.
    assert_eq!(errors("sidecar: {resources: {requests: {cpu: x}, limits: {cpu: 60m}}}").lines().count(), 1);
    assert_eq!(errors("server: {listen: '[::]:0', adminListen: '[::]:0'}"), "");
}

#[test]
fn the_hash_changes_with_everything_that_pods_depend_on_and_with_nothing_else() {
    let (default, whole) = (Config::default(), parsed(WHOLE));
    assert!(default.hash().len() == 12 && default.hash().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(parsed("# a comment\nca: {mode: pod}").hash(), default.hash());
    let with = |change: fn(&mut Config, Config)| {
        let mut config = Config::default();
        change(&mut config, parsed(WHOLE));
        config
    };
    let live: [fn(&mut Config, Config); 5] = [
        |config, whole| config.sidecar = whole.sidecar,
        |config, whole| config.ca = whole.ca,
        |config, whole| config.policy = whole.policy,
        |config, whole| config.environment = whole.environment,
        |config, whole| config.dns = whole.dns,
    ];
    let mut hashes: Vec<String> = live.into_iter().map(|change| with(change).hash()).collect();
    hashes.extend([default.hash(), whole.hash()]);
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 7);
    let restarted = with(|config, whole| (config.server, config.certificate) = (whole.server, whole.certificate));
    assert_eq!(restarted.hash(), default.hash());
    assert!(default.restart_needed(&restarted).contains(&"certificate.mode"));
    assert_eq!(default.restart_needed(&with(|config, whole| config.sidecar = whole.sidecar)), Vec::<&str>::new());
}
