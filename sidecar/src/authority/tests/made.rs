//! CAs of our own making: kept, renewed, and constrained to the policy's hosts.

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
fn an_empty_policy_makes_a_ca_for_nobody() {
    let mut keeper = start(Source::Made(MadeCa::in_memory().constrained(true)), None, &[]).unwrap();
    let signing = keeper.signing();
    let may_sign = |host: &str| signing.borrow().signer_for(&Host::parse(host).unwrap(), now()).is_some();
    assert!(!may_sign("a.test") && !may_sign("192.0.2.1") && !may_sign("[2001:db8::1]"));
    keeper.set_hosts(hosts(&["a.test"]));
    keeper.poll(now());
    assert!(may_sign("a.test") && !may_sign("b.test") && !may_sign("192.0.2.1"));
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

#[test]
fn an_empty_state_file_is_replaced_and_a_wrong_mode_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let first = signs(&kept(&dir, &[], false));
    let path = dir.path().join("ca/authorities.pem");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(signs(&kept(&dir, &[], false)), first);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for empty in ["", "\n"] {
        fs::write(&path, empty).unwrap();
        let second = signs(&kept(&dir, &[], false));
        assert_ne!(second, first);
        assert_eq!(signs(&kept(&dir, &[], false)), second);
    }
}
