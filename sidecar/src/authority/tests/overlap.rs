//! The order of CAs in time, as a table of moments.

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
