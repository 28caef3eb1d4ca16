//! CAs from the operator's files: rotations, halves of pairs, and what is refused.

use super::*;

fn keep(dir: &TempDir, trust: &TempDir) -> Keeper {
    start(Source::Files(CaFiles::in_dir(dir.path())), Some(trust), &[]).unwrap()
}

#[test]
fn a_new_pair_is_in_the_trust_files_before_it_signs() {
    let (dir, trust, old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), ca(), ca());
    put(dir.path(), &old);
    let mut keeper = keep(&dir, &trust);
    assert_eq!(published(&trust), [old.certificate_der().clone()]);
    put(dir.path(), &new);
    let start = now();
    keeper.poll(start);
    assert_eq!(published(&trust), [old.certificate_der().clone(), new.certificate_der().clone()]);
    assert_eq!(signs(&keeper), *old.certificate_der());
    keeper.poll(start + Duration::DAY);
    assert_eq!(signs(&keeper), *new.certificate_der());
    keeper.poll(start + Duration::DAY + leaf::LIFETIME);
    assert_eq!(published(&trust), [new.certificate_der().clone()]);
    assert_eq!(keeper.status().borrow().generation, 4);
}

#[test]
fn halves_of_two_pairs_are_not_taken_and_the_status_says_why() {
    let (dir, trust, old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), ca(), ca());
    put(dir.path(), &old);
    let mut keeper = keep(&dir, &trust);
    fs::write(dir.path().join("ca.crt"), new.certificate_pem()).unwrap();
    keeper.poll(now());
    let error = keeper.status().borrow().error.clone().unwrap();
    assert!(error.contains("ca.key") && error.contains("does not belong"), "{error}");
    assert_eq!(published(&trust), [old.certificate_der().clone()]);
    assert_eq!(keeper.status().borrow().generation, 1);
    put(dir.path(), &new);
    keeper.poll(now());
    assert_eq!(keeper.status().borrow().error, None);
    assert_eq!(published(&trust).len(), 2);
}

#[test]
fn a_file_that_vanishes_leaves_everything_as_it_was() {
    let (dir, trust, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), ca());
    put(dir.path(), &old);
    let mut keeper = keep(&dir, &trust);
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    keeper.poll(now());
    assert!(keeper.status().borrow().error.as_deref().unwrap().contains("ca.key"));
    assert_eq!(signs(&keeper), *old.certificate_der());
}

#[test]
fn a_ca_that_cannot_be_published_does_not_sign_and_is_tried_again() {
    let (dir, trust, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), ca());
    let new = ca_of(Duration::days(365), None);
    put(dir.path(), &old);
    let mut keeper = keep(&dir, &trust);
    let blocked = trust.path().join("ca.crt");
    fs::remove_file(&blocked).unwrap();
    fs::create_dir(&blocked).unwrap();
    fs::write(blocked.join("x"), "").unwrap();
    put(dir.path(), &new);
    let start = now();
    keeper.poll(start);
    keeper.poll(start + Duration::days(2));
    assert_eq!(keeper.signing().borrow().authorities().len(), 1);
    assert!(keeper.status().borrow().error.is_some());
    fs::remove_dir_all(&blocked).unwrap();
    keeper.poll(start + Duration::days(3));
    assert_eq!(keeper.status().borrow().error, None);
    assert_eq!(published(&trust).len(), 2);
    assert_eq!(signs(&keeper), *old.certificate_der(), "the overlap starts when clients can know the new CA");
}

#[test]
fn a_takeover_does_not_wait_for_trust_files_that_have_the_ca_already() {
    let (dir, trust, old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), ca(), ca());
    put(dir.path(), &old);
    let mut keeper = keep(&dir, &trust);
    put(dir.path(), &new);
    let start = now();
    keeper.poll(start);
    let blocked = trust.path().join("ca.crt");
    fs::remove_file(&blocked).unwrap();
    fs::create_dir(&blocked).unwrap();
    fs::write(blocked.join("x"), "").unwrap();
    keeper.poll(start + Duration::DAY);
    assert_eq!(signs(&keeper), *new.certificate_der());
    assert!(keeper.status().borrow().error.is_some());
    fs::remove_dir_all(&blocked).unwrap();
    keeper.poll(start + Duration::DAY);
    assert_eq!(keeper.status().borrow().error, None);
    assert_eq!(published(&trust), [new.certificate_der().clone(), old.certificate_der().clone()]);
}

#[test]
fn the_certificate_before_a_rotation_is_trusted_and_never_signs() {
    let (dir, trust, old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), ca(), ca());
    put(dir.path(), &new);
    fs::write(dir.path().join("previous.crt"), old.certificate_pem()).unwrap();
    let mut keeper = keep(&dir, &trust);
    assert_eq!(published(&trust), [new.certificate_der().clone(), old.certificate_der().clone()]);
    assert_eq!(keeper.signing().borrow().authorities().len(), 1);
    fs::remove_file(dir.path().join("previous.crt")).unwrap();
    keeper.poll(now());
    assert_eq!(published(&trust), [new.certificate_der().clone()]);
}

#[test]
fn what_is_no_ca_or_is_over_is_refused_at_the_start() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::default();
    leaf.is_ca = rcgen::IsCa::ExplicitNoCa;
    let mut over = rcgen::CertificateParams::default();
    over.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    over.not_after = now() - Duration::DAY;
    for (params, expected) in [(leaf, "is not a CA"), (over, "expired")] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.path().join("ca.key"), key.serialize_pem()).unwrap();
        let error = start(Source::Files(CaFiles::in_dir(dir.path())), None, &[]).err().unwrap().to_string();
        assert!(error.contains("ca.crt") && error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_wrong_at_the_start_names_the_file_and_never_shows_the_key() {
    let good = ca();
    let key = good.private_key_pem();
    let secret = key.lines().nth(1).unwrap();
    let cut = &key[..key.len() / 2];
    for (name, content, expected) in [
        ("ca.crt", None, "ca.crt"),
        ("ca.key", None, "ca.key"),
        ("ca.crt", Some(""), "ca.crt"),
        ("ca.crt", Some("garbage"), "ca.crt"),
        ("ca.key", Some(""), "ca.key"),
        ("ca.key", Some(cut), "ca.key"),
        ("ca.key", Some(&*ca().private_key_pem()), "does not belong"),
        ("previous.crt", Some(""), "previous.crt"),
        ("previous.crt", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "previous.crt"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &good);
        let path = dir.path().join(name);
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let result = start(Source::Files(CaFiles::in_dir(dir.path())), None, &[]);
        let error = result.err().unwrap_or_else(|| panic!("{name}: {content:?}")).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains(secret), "{error}");
    }
}

#[test]
fn a_ca_within_a_day_of_its_end_is_said_to_end_until_another_follows_it() {
    let (dir, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = ca_of(Duration::days(2), None);
    put(dir.path(), &old);
    let mut keeper = keep(&dir, &trust);
    assert_eq!(keeper.status().borrow().end, None);
    keeper.poll(old.not_after() - Duration::DAY);
    let end = keeper.status().borrow().end.clone().unwrap();
    assert!(!end.expired && end.words.contains("expires at") && end.words.contains("UTC"), "{end:?}");
    keeper.poll(old.not_after());
    let end = keeper.status().borrow().end.clone().unwrap();
    assert!(end.expired && end.words.contains("expired at") && end.words.contains("no host can be"), "{end:?}");
    put(dir.path(), &ca());
    keeper.poll(old.not_after());
    assert_eq!(keeper.status().borrow().end, None);
}

#[test]
fn a_ca_that_starts_on_its_last_day_says_so_at_once() {
    let (dir, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(dir.path(), &ca_of(Duration::HOUR, None));
    assert!(keep(&dir, &trust).status().borrow().end.as_ref().is_some_and(|end| !end.expired));
}

#[test]
fn hosts_that_no_ca_may_sign_for_are_named_up_to_ten() {
    let constrained = ca_of(Duration::days(365), Some(&["a.test", "192.0.2.1"]));
    let signing = Authorities::new(constrained, Duration::DAY).signing();
    let warning = |names: &[&str]| keeper::excluded(&signing, &hosts(names));
    assert_eq!(warning(&["a.test", "*.a.test", "x.a.test", "192.0.2.1"]), None);
    let said = warning(&["a.test", "b.test", "*.c.test", "192.0.2.2", "[2001:db8::1]"]).unwrap();
    assert!(said.ends_with(": b.test, *.c.test, 192.0.2.2, [2001:db8::1]"), "{said}");
    let many: Vec<String> = (10..22).map(|number| format!("h{number}.test")).collect();
    let said = warning(&many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert!(said.contains("h19.test and 2 more") && !said.contains("h20"), "{said}");
}

#[test]
fn trust_files_that_were_removed_or_damaged_are_there_again_after_a_look() {
    let (dir, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(dir.path(), &ca());
    let mut keeper = keep(&dir, &trust);
    let whole = |name: &str| fs::read(trust.path().join(name)).unwrap();
    let names = ["ca.crt", "bundle.crt", "wgetrc", "truststore.p12"];
    let before = names.map(whole);
    fs::remove_file(trust.path().join("ca.crt")).unwrap();
    fs::write(trust.path().join("bundle.crt"), &before[1][..100]).unwrap();
    fs::write(trust.path().join("wgetrc"), "ca_certificate = /elsewhere\n").unwrap();
    keeper.poll(now());
    assert_eq!(names.map(whole)[..3], before[..3]);
    let store = whole("truststore.p12");
    let mut damaged = store.clone();
    damaged[store.len() / 2] ^= 1;
    fs::write(trust.path().join("truststore.p12"), &damaged).unwrap();
    keeper.poll(now());
    assert_ne!(whole("truststore.p12"), damaged);
    assert_eq!(keeper.status().borrow().error, None);
    fs::remove_dir_all(trust.path()).unwrap();
    keeper.poll(now());
    assert_eq!(names.map(whole)[..3], before[..3]);
}
