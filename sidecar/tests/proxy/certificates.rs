//! The sidecar's CA through `serve`: what it refuses at start, how a new one takes over, and whom it signs for.

use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sandgate_ca::{Authority, KeyType, Profile};
use sandgate_testkit::client::{ClientTls, connect_through, eventually, https_through, tunnel};
use sandgate_testkit::origin::Origin;
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::sidecar::run_command;
use tempfile::TempDir;
use time::Duration;

use crate::harness::{DEADLINE, PROGRAM, Setup, allow, resolve, start_origin, url};

fn ca(name: &str) -> Arc<Authority> {
    let (organization, constraints) = (None, None);
    let (lifetime, key_type) = (Duration::days(30), KeyType::P256);
    let profile = Profile { common_name: name.to_owned(), organization, lifetime, key_type, constraints };
    Arc::new(Authority::generate(&profile).expect("a CA"))
}

fn put(dir: &Path, name: &str, text: &str) {
    let aside = dir.join(format!("{name}.new"));
    std::fs::write(&aside, text).expect("a CA file is written");
    std::fs::rename(aside, dir.join(name)).expect("a CA file is put in place");
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

/// A sidecar with its CA in files.
async fn with_files(origin: &Origin, first: &Authority, overlap: &str) -> (Setup, TempDir) {
    let (dir, files) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    put(files.path(), "ca.key", &first.private_key_pem());
    put(files.path(), "ca.crt", &first.chain_pem());
    let roots = dir.path().join("origin-ca.pem");
    origin.ca().write_root(&roots);
    let rules = format!(
        "{}{}",
        allow(origin),
        allow(origin).replace("id: origin", "id: more").replace("host: origin.test", "host: '*.origin.test'")
    );
    std::fs::write(dir.path().join("policy.yaml"), format!("version: 1\ndestinations:\n{rules}")).expect("as prepared");
    let (ca_dir, roots) = (files.path().display().to_string(), roots.display().to_string());
    let arguments =
        ["--ca-dir", &ca_dir, "--ca-poll", "50ms", "--ca-overlap", overlap, "--upstream-ca", &roots, "--resolve"];
    let setup = Setup::start_in(dir, &[&arguments[..], &[&resolve(origin)]].concat()).await;
    setup.sidecar.wait_for_stderr("further roots for origins", DEADLINE).await;
    (setup, files)
}

fn trusted(setup: &Setup) -> Vec<CertificateDer<'static>> {
    let text = std::fs::read(setup.dir.path().join("trust/ca.crt")).expect("as prepared");
    CertificateDer::pem_slice_iter(&text).map(Result::unwrap).collect()
}

async fn wait_until_trusted(setup: &Setup, authority: &Authority) {
    eventually(DEADLINE, || trusted(setup).contains(authority.certificate_der())).await;
}

/// Whether a client that trusts only `authority` accepts what it is shown for `host`.
async fn is_signed_by(setup: &Setup, origin: &Origin, host: &str, authority: &Authority) -> bool {
    let stream = tunnel(setup.sidecar.proxy(), &format!("{host}:{}", origin.port())).await.expect("as prepared");
    ClientTls::new(&authority.certificate_pem()).handshake(host, stream).await.is_ok()
}

#[tokio::test]
async fn a_new_ca_is_trusted_first_and_signs_nothing_during_the_overlap() {
    let origin = start_origin().await;
    let (old, new) = (ca("old"), ca("new"));
    let (setup, files) = with_files(&origin, &old, "24h").await;
    let mut open = setup.client(&origin).await;
    put(files.path(), "ca.key", &new.private_key_pem());
    put(files.path(), "ca.crt", &new.chain_pem());
    wait_until_trusted(&setup, &new).await;
    assert!(trusted(&setup).contains(old.certificate_der()));
    for host in ["origin.test", "fresh.origin.test"] {
        assert!(is_signed_by(&setup, &origin, host, &old).await, "{host}");
        assert!(!is_signed_by(&setup, &origin, host, &new).await, "{host}");
    }
    assert_eq!(open.get(&url(&origin, "/zen")).await.unwrap().status, 200);
}

#[tokio::test]
async fn after_the_overlap_the_new_ca_signs_and_no_connection_drops() {
    let origin = start_origin().await;
    let (old, new) = (ca("old"), ca("new"));
    let (setup, files) = with_files(&origin, &old, "200ms").await;
    let mut open = setup.client(&origin).await;
    assert_eq!(open.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    put(files.path(), "ca.key", &new.private_key_pem());
    put(files.path(), "ca.crt", &new.chain_pem());
    wait_until_trusted(&setup, &new).await;
    let mut number = 0;
    let taken_over = async {
        loop {
            number += 1;
            if is_signed_by(&setup, &origin, &format!("h{number}.origin.test"), &new).await {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, taken_over).await.expect("the new CA takes over");
    // Leaves that are not due are served on, and their CA stays trusted.
    assert!(trusted(&setup).contains(old.certificate_der()));
    assert!(is_signed_by(&setup, &origin, "origin.test", &old).await);
    assert_eq!(open.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    assert_eq!(setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    assert_eq!(origin.request_count(), 3);
}

#[tokio::test]
async fn a_pair_of_files_that_do_not_belong_together_changes_nothing() {
    let origin = start_origin().await;
    let (old, new) = (ca("old"), ca("new"));
    let (setup, files) = with_files(&origin, &old, "0").await;
    put(files.path(), "ca.crt", &new.chain_pem());
    setup.sidecar.wait_for_stderr("the CA stays as it was", DEADLINE).await;
    let (status, report) = setup.readyz().await;
    assert_eq!(status, 200);
    assert!(report["problems"].to_string().contains("ca.key"), "{report}");
    assert_eq!(trusted(&setup), [old.certificate_der().clone()]);
    assert!(is_signed_by(&setup, &origin, "fresh.origin.test", &old).await);
    // The other half arrives.
    put(files.path(), "ca.key", &new.private_key_pem());
    wait_until_trusted(&setup, &new).await;
    crate::harness::until("/readyz", async || setup.readyz().await.1["status"] == "ready").await;
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
        seen.push(trusted(&setup));
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
    let first = trusted(&setup);
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
    eventually(DEADLINE, || trusted(&setup).len() == 2).await;
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
