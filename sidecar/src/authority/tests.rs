//! Tests of the CAs' order in time, on a clock of their own, and of where they come from.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sandgate_ca::{KeyType, NameConstraints, Profile};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::trust::TrustFiles;

fn ca_of(lifetime: Duration, hosts: Option<&[&str]>) -> Arc<Authority> {
    let constraints = hosts.map(|hosts| NameConstraints::for_hosts(hosts.iter().copied()).unwrap());
    let key_type = KeyType::P256;
    let profile = Profile { common_name: "test".into(), organization: None, lifetime, key_type, constraints };
    Arc::new(Authority::generate(&profile).unwrap())
}

fn ca() -> Arc<Authority> {
    ca_of(Duration::days(365), None)
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn is(found: Option<&Arc<Authority>>, expected: &Arc<Authority>) -> bool {
    found.is_some_and(|found| Arc::ptr_eq(found, expected))
}

fn trusts(authorities: &Authorities, expected: &[&Arc<Authority>]) -> bool {
    let expected: Vec<_> = expected.iter().map(|authority| authority.certificate_der().clone()).collect();
    authorities.trusted() == expected
}

mod overlap {
    use super::*;

    #[test]
    fn a_new_ca_is_trusted_at_once_and_signs_after_the_overlap() {
        let (old, new, start) = (ca(), ca(), now());
        let mut authorities = Authorities::new(Arc::clone(&old), Duration::DAY);
        authorities.offer(Arc::clone(&new), start);
        assert!(trusts(&authorities, &[&old, &new]));
        for (after, signer, change) in [
            (Duration::ZERO, &old, Change::default()),
            (Duration::DAY - Duration::SECOND, &old, Change::default()),
            (Duration::DAY, &new, Change { signing: true, trust: false }),
            (Duration::DAY + Duration::SECOND, &new, Change::default()),
        ] {
            assert_eq!(authorities.step(start + after), change, "{after}");
            assert!(is(authorities.signing().current(), signer), "{after}");
        }
        assert!(trusts(&authorities, &[&new, &old]));
    }

    #[test]
    fn the_old_ca_is_trusted_while_its_leaves_may_be_served() {
        let (old, new, start) = (ca(), ca(), now());
        let mut authorities = Authorities::new(old, Duration::DAY);
        authorities.offer(Arc::clone(&new), start);
        let takeover = start + Duration::DAY;
        authorities.step(takeover);
        assert_eq!(authorities.step(takeover + leaf::LIFETIME - Duration::SECOND), Change::default());
        assert_eq!(authorities.step(takeover + leaf::LIFETIME), Change { signing: false, trust: true });
        assert!(trusts(&authorities, &[&new]));
    }

    #[test]
    fn near_the_end_of_the_old_ca_the_new_one_does_not_wait() {
        let (old, new, start) = (ca_of(Duration::hours(10), None), ca(), now());
        let mut authorities = Authorities::new(Arc::clone(&old), Duration::DAY);
        authorities.offer(Arc::clone(&new), start);
        authorities.step(old.not_after() - NEAR_END - Duration::SECOND);
        assert!(is(authorities.signing().current(), &old));
        assert!(authorities.step(old.not_after() - NEAR_END).signing);
        assert!(is(authorities.signing().current(), &new));
        authorities.step(old.not_after());
        assert!(trusts(&authorities, &[&new]));
    }

    #[test]
    fn without_an_overlap_the_new_ca_signs_with_the_next_step() {
        let (old, new, start) = (ca(), ca(), now());
        let mut authorities = Authorities::new(old, Duration::ZERO);
        authorities.offer(Arc::clone(&new), start);
        authorities.step(start);
        assert!(is(authorities.signing().current(), &new));
    }

    #[test]
    fn two_rotations_within_the_overlap_each_keep_their_own() {
        let (a, b, c, start) = (ca(), ca(), ca(), now());
        let mut authorities = Authorities::new(Arc::clone(&a), Duration::DAY);
        authorities.offer(Arc::clone(&b), start);
        authorities.offer(Arc::clone(&c), start + Duration::HOUR);
        assert!(trusts(&authorities, &[&a, &b, &c]));
        authorities.step(start + Duration::DAY);
        assert!(is(authorities.signing().current(), &b));
        authorities.step(start + Duration::DAY + Duration::HOUR);
        assert!(is(authorities.signing().current(), &c));
    }

    #[test]
    fn a_process_that_slept_through_everything_ends_with_the_last_ca() {
        let (a, b, c, start) = (ca(), ca(), ca(), now());
        let mut authorities = Authorities::new(a, Duration::DAY);
        authorities.offer(b, start);
        authorities.offer(Arc::clone(&c), start);
        authorities.step(start + Duration::days(100));
        assert!(is(authorities.signing().current(), &c));
    }

    #[test]
    fn putting_the_old_pair_back_ends_the_rotation() {
        let (old, new, start) = (ca(), ca(), now());
        let mut authorities = Authorities::new(Arc::clone(&old), Duration::DAY);
        authorities.offer(Arc::clone(&new), start);
        authorities.offer(Arc::clone(&old), start + Duration::HOUR);
        authorities.step(start + Duration::days(2));
        assert!(is(authorities.signing().current(), &old));
        assert!(trusts(&authorities, &[&old, &new]), "it may have signed outside the old one's constraints");
        authorities.step(start + Duration::HOUR + leaf::LIFETIME);
        assert!(trusts(&authorities, &[&old]));
    }

    #[test]
    fn the_same_successor_again_does_not_start_its_overlap_anew() {
        let (old, new, start) = (ca(), ca(), now());
        let mut authorities = Authorities::new(old, Duration::DAY);
        authorities.offer(Arc::clone(&new), start);
        authorities.offer(Arc::clone(&new), start + Duration::HOUR);
        authorities.step(start + Duration::DAY);
        assert!(is(authorities.signing().current(), &new));
    }

    #[test]
    fn a_successor_that_has_expired_never_takes_over() {
        let (old, short, start) = (ca(), ca_of(Duration::HOUR, None), now());
        let mut authorities = Authorities::new(Arc::clone(&old), Duration::DAY);
        authorities.offer(short, start);
        assert_eq!(authorities.step(start + Duration::DAY), Change { signing: false, trust: true });
        assert!(is(authorities.signing().current(), &old));
    }

    #[test]
    fn hosts_outside_the_old_constraints_get_the_new_ca_at_once_and_only_they() {
        let old = ca_of(Duration::days(365), Some(&["a.test"]));
        let new = ca_of(Duration::days(365), Some(&["a.test", "b.test", "192.0.2.1"]));
        let start = now();
        let mut authorities = Authorities::new(Arc::clone(&old), Duration::DAY);
        authorities.offer(Arc::clone(&new), start);
        let signing = authorities.signing();
        let signer = |host: &str| signing.signer_for(&Host::parse(host).unwrap(), start);
        assert!(is(signer("a.test"), &old));
        assert!(is(signer("x.a.test"), &old));
        assert!(is(signer("b.test"), &new));
        assert!(is(signer("192.0.2.1"), &new));
        assert!(signer("c.test").is_none());
        assert!(signer("192.0.2.2").is_none());
    }

    #[test]
    fn an_expired_ca_signs_nothing() {
        let old = ca_of(Duration::HOUR, None);
        let signing = Authorities::new(Arc::clone(&old), Duration::DAY).signing();
        let host = Host::parse("a.test").unwrap();
        assert!(signing.signer_for(&host, old.not_after() - Duration::SECOND).is_some());
        assert!(signing.signer_for(&host, old.not_after()).is_none());
    }
}

fn hosts(hosts: &[&str]) -> Arc<[String]> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

fn put(dir: &Path, authority: &Authority) {
    fs::write(dir.join("ca.crt"), authority.chain_pem()).unwrap();
    fs::write(dir.join("ca.key"), authority.private_key_pem()).unwrap();
}

fn start(source: Source, trust: Option<&TempDir>, names: &[&str]) -> Result<Keeper, CaError> {
    let trust = trust.map(|dir| TrustFiles::new(dir.path()));
    Keeper::start(source, Duration::DAY, trust, hosts(names), now())
}

/// The certificates of `ca.crt` in a directory of trust files.
fn published(dir: &TempDir) -> Vec<CertificateDer<'static>> {
    let text = fs::read(dir.path().join("ca.crt")).unwrap();
    CertificateDer::pem_slice_iter(&text).map(Result::unwrap).collect()
}

fn signs(keeper: &Keeper) -> CertificateDer<'static> {
    keeper.signing().borrow().current().unwrap().certificate_der().clone()
}

mod files {
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
}

mod made {
    use super::*;

    fn kept(dir: &TempDir, names: &[&str], constrained: bool) -> Keeper {
        start(Source::Made(MadeCa::kept_in(dir.path()).constrained(constrained)), None, names).unwrap()
    }

    #[test]
    fn a_ca_in_memory_lives_a_year_and_signs_only_leaves() {
        let keeper = start(Source::Made(MadeCa::in_memory()), None, &[]).unwrap();
        let expires = keeper.status().borrow().expires;
        assert!((expires - now() - Duration::days(365)).abs() < Duration::MINUTE);
        let der = signs(&keeper);
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let basic = certificate.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint == Some(0));
    }

    #[test]
    fn a_restart_keeps_the_ca_in_private_files() {
        let dir = tempfile::tempdir().unwrap();
        let first = signs(&kept(&dir, &[], false));
        assert_eq!(signs(&kept(&dir, &[], false)), first);
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("ca"), mode("ca/authorities.pem")), (0o700, 0o600));
    }

    #[test]
    fn a_successor_is_made_a_month_before_the_end_once() {
        let (state, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut keeper = start(Source::Made(MadeCa::kept_in(state.path())), Some(&trust), &[]).unwrap();
        let (old, start) = (signs(&keeper), now());
        keeper.poll(start + Duration::days(334));
        assert_eq!(published(&trust).len(), 1);
        for minutes in [0, 1, 2] {
            keeper.poll(start + Duration::days(335) + Duration::minutes(minutes));
            assert_eq!((published(&trust).len(), signs(&keeper)), (2, old.clone()));
        }
        let signing = keeper.signing();
        assert_eq!(signing.borrow().authorities().len(), 2);
        let kept = kept(&state, &[], false);
        assert_eq!(kept.signing().borrow().authorities().len(), 2, "a restart keeps both");
        keeper.poll(start + Duration::days(337));
        assert_ne!(signs(&keeper), old);
    }

    #[test]
    fn a_policy_that_grows_past_the_constraints_gets_a_wider_ca_for_what_is_new() {
        let (state, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = Source::Made(MadeCa::kept_in(state.path()).constrained(true));
        let mut keeper = start(source, Some(&trust), &["a.test", "*.w.test"]).unwrap();
        keeper.poll(now());
        assert_eq!(published(&trust).len(), 1, "nothing to do while the hosts are the same");
        keeper.set_hosts(hosts(&["a.test"]));
        keeper.poll(now());
        assert_eq!(published(&trust).len(), 1, "a smaller policy needs no other CA");
        keeper.set_hosts(hosts(&["a.test", "b.test", "192.0.2.1", "[2001:db8::1]"]));
        keeper.poll(now());
        assert_eq!(published(&trust).len(), 2);
        let signing = keeper.signing();
        let signer = |host: &str| {
            let host = Host::parse(host).unwrap();
            signing.borrow().signer_for(&host, now()).map(|authority| authority.certificate_der().clone())
        };
        assert_eq!(signer("a.test"), Some(signs(&keeper)));
        for host in ["b.test", "192.0.2.1", "[2001:db8::1]"] {
            assert_eq!(signer(host).as_ref(), published(&trust).last(), "{host}");
        }
        assert_eq!(signer("c.test"), None);
    }

    #[test]
    fn turning_the_option_on_or_off_makes_another_ca() {
        let dir = tempfile::tempdir().unwrap();
        kept(&dir, &["a.test"], false);
        assert_eq!(kept(&dir, &["a.test"], true).signing().borrow().authorities().len(), 2);
        assert_eq!(kept(&dir, &["a.test"], true).signing().borrow().authorities().len(), 2);
    }

    #[test]
    fn more_than_a_thousand_names_are_an_error_that_says_so() {
        let names: Vec<String> = (0..1001).map(|number| format!("h{number}.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let source = || Source::Made(MadeCa::in_memory().constrained(true));
        let error = start(source(), None, &names).err().unwrap().to_string();
        assert!(error.contains("1001 names"), "{error}");
        let mut keeper = start(source(), None, &names[..1000]).unwrap();
        keeper.set_hosts(hosts(&names));
        keeper.poll(now());
        assert!(keeper.status().borrow().error.as_deref().unwrap().contains("1001 names"));
        assert_eq!(keeper.signing().borrow().authorities().len(), 1);
    }

    #[test]
    fn what_expired_while_nobody_looked_is_replaced_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let short = MadeCa::kept_in(dir.path()).lifetime(Duration::seconds(1));
        let old = signs(&start(Source::Made(short), None, &[]).unwrap());
        let (_, parsed) = x509_parser::parse_x509_certificate(&old).unwrap();
        let end = parsed.validity().not_after.to_datetime();
        let deadline = now() + Duration::seconds(30);
        while now() <= end && now() < deadline {
            std::thread::yield_now();
        }
        let keeper = kept(&dir, &[], false);
        assert_ne!(signs(&keeper), old);
        assert_eq!(keeper.signing().borrow().authorities().len(), 1);
    }

    #[test]
    fn damaged_state_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        kept(&dir, &[], false);
        let path = dir.path().join("ca/authorities.pem");
        let whole = fs::read_to_string(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], "garbage"] {
            fs::write(&path, damaged).unwrap();
            let error = start(Source::Made(MadeCa::kept_in(dir.path())), None, &[]).err().unwrap().to_string();
            assert!(error.contains("ca/authorities.pem") && error.contains("remove the file"), "{error}");
        }
    }
}

#[tokio::test]
async fn watching_takes_new_files_and_ends_with_its_owner() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), ca(), ca());
    put(dir.path(), &old);
    let keeper = start(Source::Files(CaFiles::in_dir(dir.path())), None, &[]).unwrap();
    let mut signing = keeper.signing();
    let policy = watch::Sender::new(hosts(&[]));
    let task = tokio::spawn(keeper.watch(std::time::Duration::from_millis(5), policy.subscribe()));
    put(dir.path(), &new);
    let deadline = std::time::Duration::from_secs(10);
    let both = signing.wait_for(|signing| signing.authorities().len() == 2);
    assert!(tokio::time::timeout(deadline, both).await.is_ok());
    drop(policy);
    tokio::time::timeout(deadline, task).await.unwrap().unwrap();
}
