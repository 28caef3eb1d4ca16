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
