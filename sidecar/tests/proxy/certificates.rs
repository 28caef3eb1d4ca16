//! The sidecar's CA through `serve`: what it refuses at start, what it keeps, and whom it signs for.

use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;
use sandgate_ca::{Authority, KeyType, Profile};
use sandgate_testkit::client::{connect_through, eventually, https_through, tunnel};
use sandgate_testkit::origin::Origin;
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::sidecar::run_command;
use time::Duration;

use crate::harness::{DEADLINE, PROGRAM, Setup, allow, resolve, start_origin, url};

pub(crate) fn ca(name: &str) -> Arc<Authority> {
    let (organization, constraints) = (None, None);
    let (lifetime, key_type) = (Duration::days(30), KeyType::P256);
    let profile = Profile { common_name: name.to_owned(), organization, lifetime, key_type, constraints };
    Arc::new(Authority::generate(&profile).expect("a CA"))
}

fn expired() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.not_before = time::OffsetDateTime::now_utc() - Duration::days(20);
    params.not_after = time::OffsetDateTime::now_utc() - Duration::days(10);
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_ca_that_cannot_sign_ends_the_start_with_the_file_and_without_the_key() {
    let (good, other) = (ca("good"), ca("other"));
    let (certificate, key) = (good.chain_pem(), good.private_key_pem().to_string());
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let leaf = TestCa::new().issue(&["origin.test"]);
    let (old_certificate, old_key) = expired();
    let other_key = other.private_key_pem().to_string();
    // What is missing is left out; a directory in a file's place is unreadable even to root.
    let cases: [(&str, Option<&str>, Option<&str>, &str); 11] = [
        ("no certificate", None, Some(&key), "ca.crt"),
        ("no key", Some(&certificate), None, "ca.key"),
        ("unreadable key", Some(&certificate), Some("DIRECTORY"), "ca.key"),
        ("mismatched", Some(&certificate), Some(&other_key), "ca.key"),
        ("expired", Some(&old_certificate), Some(&old_key), "ca.crt"),
        ("not a CA", Some(&leaf.chain_pem()), Some(leaf.key_pem()), "ca.crt"),
        ("truncated certificate", Some(&half(&certificate)), Some(&key), "ca.crt"),
        ("truncated key", Some(&certificate), Some(&half(&key)), "ca.key"),
        ("empty", Some(""), Some(""), "ca.crt"),
        ("key in the place of the certificate", Some(&key), Some(&key), "ca.crt"),
        ("not text", Some("\u{1}\u{2}"), Some(&key), "ca.crt"),
    ];
    for (case, certificate, key, named) in cases {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [("ca.crt", certificate), ("ca.key", key)] {
            match text {
                Some("DIRECTORY") => std::fs::create_dir(dir.path().join(file)).unwrap(),
                Some(text) => std::fs::write(dir.path().join(file), text).unwrap(),
                None => {}
            }
        }
        let path = dir.path().display().to_string();
        let listeners = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let arguments = [&["serve", "--no-env", "--ca-dir", &path, "--log-level", "trace"], &listeners[..]].concat();
        let output = run_command(PROGRAM, &arguments, &[], DEADLINE).await.expect(case);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{case}: {said}");
        assert!(said.contains(named) && said.contains(&path), "{case}: {said}");
        assert!(!said.contains("\"ready\""), "{case}: it listened: {said}");
        for secret in key.unwrap_or_default().lines().filter(|line| line.len() > 20 && !line.starts_with("---")) {
            assert!(!said.contains(secret), "{case}: the key was printed");
        }
    }
}

#[tokio::test]
async fn a_generated_ca_is_kept_over_a_restart_where_only_the_sidecar_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let origin = start_origin().await;
    let state = tempfile::tempdir().unwrap();
    let path = state.path().display().to_string();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let arguments = ["--state-dir", &path, "--drain-quiet", "0", "--resolve", &resolve(&origin)];
        let mut setup = Setup::start(origin.ca(), &allow(&origin), &arguments).await;
        seen.push(setup.trusted());
        assert_eq!(setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().status, 200);
        setup.sidecar.signal(Signal::SIGTERM);
        assert!(setup.sidecar.wait_exit(DEADLINE).await.success());
    }
    assert_eq!(seen[0], seen[1]);
    let kept = state.path().join("ca");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&kept), mode(&kept.join("authorities.pem"))), (0o700, 0o600));
}

#[tokio::test]
async fn a_constrained_ca_grows_with_the_policy_and_only_new_hosts_get_the_new_one() {
    let origin = Origin::builder().names(&["origin.test", "grown.test"]).start().await;
    let hand = format!("grown.test:{}:127.0.0.1", origin.port());
    let arguments = ["--ca-name-constraints", "--resolve", &resolve(&origin), "--resolve", &hand];
    let setup = Setup::start(origin.ca(), &allow(&origin), &arguments).await;
    let first = setup.trusted();
    let (_, parsed) = x509_parser::parse_x509_certificate(&first[0]).unwrap();
    let permitted = format!("{:?}", parsed.name_constraints().unwrap().unwrap().value);
    assert!(permitted.contains("origin.test"), "{permitted}");
    let only_first = setup.client_tls();
    setup
        .enforce(&format!(
            "{}{}",
            allow(&origin),
            allow(&origin).replace("origin\n", "grown\n").replace("origin.test", "grown.test")
        ))
        .await;
    eventually(DEADLINE, || setup.trusted().len() == 2).await;
    let proxy = setup.sidecar.proxy();
    let mut client = https_through(proxy, "grown.test", origin.port(), &setup.client_tls()).await.unwrap();
    assert_eq!(client.get(&format!("https://grown.test:{}/zen", origin.port())).await.unwrap().status, 200);
    https_through(proxy, "origin.test", origin.port(), &only_first).await.expect("the old host keeps the old CA");
    assert!(https_through(proxy, "grown.test", origin.port(), &only_first).await.is_err());
}

#[tokio::test]
async fn name_constraints_are_refused_in_audit_mode_and_past_a_thousand_names() {
    let many: String = (0..1001).map(|number| format!("  - {{id: r{number}, host: h{number}.test}}\n")).collect();
    for (text, needle) in [("  []\nmode: audit\n", "audit"), (&many, "at most 1000")] {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy.yaml");
        std::fs::write(&policy, format!("version: 1\ndestinations:\n{text}")).unwrap();
        let arguments = ["serve", "--no-env", "--ca", "generate", "--ca-name-constraints", "--policy"];
        let listeners = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let all = [&arguments[..], &[policy.to_str().unwrap()], &listeners[..]].concat();
        let output = run_command(PROGRAM, &all, &[], DEADLINE).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(needle), "{needle}: {said}");
    }
}

#[tokio::test]
async fn a_refused_host_gets_no_leaf_and_many_hosts_leave_the_cache_bounded() {
    let origin = start_origin().await;
    let rule = allow(&origin).replace("origin.test", "'*.origin.test'");
    let setup = Setup::start(origin.ca(), &rule, &["--leaf-cache-size", "50"]).await;
    for number in 0..20 {
        let authority = format!("h{number}.refused.test:{}", origin.port());
        assert_eq!(connect_through(setup.sidecar.proxy(), &authority).await.unwrap().0.status, 403);
    }
    let tls = setup.client_tls();
    for number in 0..500 {
        let host = format!("h{number}.origin.test");
        let stream = tunnel(setup.sidecar.proxy(), &format!("{host}:{}", origin.port())).await.unwrap();
        tls.handshake(&host, stream).await.expect("a leaf for each name");
    }
    setup.wait_for_metric("sandgate_leaf_mints_total", |mints| mints >= 500.0).await;
    assert_eq!(setup.metric("sandgate_leaf_mints_total").await, Some(500.0), "one each, and none for a refused host");
    let entries = setup.metric("sandgate_leaf_cache_entries").await.unwrap();
    assert!((1.0..=50.0).contains(&entries), "{entries}");
}

/// The names in the certificate that a client is shown which connects to `authority` and asks for `name`.
async fn names_in_leaf(setup: &Setup, authority: &str, name: &str) -> Vec<String> {
    let stream = tunnel(setup.sidecar.proxy(), authority).await.expect("the policy allows it");
    let stream = setup.client_tls().handshake(name, stream).await.expect("the client trusts it");
    let chain = stream.get_ref().1.peer_certificates().expect("a handshake that is over has them");
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).expect("a certificate");
    let names = leaf.subject_alternative_name().expect("at most one such extension").expect("names");
    names.value.general_names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_leaf_names_the_exact_host_and_nothing_else() {
    let origin = start_origin().await;
    let port = origin.port();
    let hosts = [("wild", "*.origin.test"), ("idn", "b\u{fc}cher.test"), ("v4", "127.0.0.2"), ("v6", "::1")];
    let rules = hosts.map(|(id, host)| format!("  - {{id: {id}, host: '{host}', ports: [{port}]}}\n"));
    let setup = Setup::start(origin.ca(), &rules.concat(), &[]).await;
    for (host, name, expected) in [
        ("a.origin.test", "a.origin.test", "DNSName(a.origin.test)"),
        ("deep.below.origin.test", "deep.below.origin.test", "DNSName(deep.below.origin.test)"),
        ("a_b.origin.test", "a_b.origin.test", "DNSName(a_b.origin.test)"),
        ("_a.origin.test", "_a.origin.test", "DNSName(_a.origin.test)"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test", "DNSName(xn--bcher-kva.test)"),
        ("XN--BCHER-kva.test.", "xn--bcher-kva.test", "DNSName(xn--bcher-kva.test)"),
        ("127.0.0.2", "127.0.0.2", "IPAddress(7f:00:00:02)"),
        ("[::1]", "::1", "IPAddress(00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:01)"),
    ] {
        assert_eq!(names_in_leaf(&setup, &format!("{host}:{port}"), name).await, [expected], "{host}");
    }
    let (reply, _) = connect_through(setup.sidecar.proxy(), &format!("*.origin.test:{port}")).await.unwrap();
    assert_eq!(reply.status, 400, "a wildcard is no host");
}
