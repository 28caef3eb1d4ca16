//! Killed at any moment, a CA is whole or absent, and the next command finds its way.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Place, SANDGATE_CA};

/// How many times each command is killed, at moments spread over the time that it takes.
const KILLS: u32 = 60;

/// Runs `sandgate-ca`, and kills it with SIGKILL after `after`. Whether it was killed.
fn killed(place: &Place, args: &[&str], after: Duration) -> bool {
    let seconds = format!("{:.4}", after.as_secs_f64());
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &seconds, SANDGATE_CA]).args(args).current_dir(place.root());
    !command.output().unwrap().status.success()
}

/// Calls `round` with moments from the start of a command to a little after its end.
fn spread(args: &[&str], mut round: impl FnMut(Duration) -> bool) {
    let place = Place::with_ca(&[]);
    let start = Instant::now();
    assert!(!killed(&place, args, Duration::from_secs(60)));
    let whole = start.elapsed();
    let killed = (1..=KILLS).filter(|number| round(whole * *number / KILLS)).count();
    assert!(killed > 0, "no run was killed, so nothing was tried");
}

fn is_whole(pem: &str) -> bool {
    pem.starts_with("-----BEGIN ") && pem.trim_end().ends_with('-') && pem.ends_with('\n')
}

#[test]
fn a_new_ca_is_whole_or_absent() {
    spread(&["generate", "--out", "ca", "--force"], |after| {
        let place = Place::new();
        let killed = killed(&place, &["generate", "--out", "ca"], after);
        let entries = place.entries("ca");
        for file in ["ca.crt", "ca.key"].iter().filter(|file| entries.iter().any(|entry| entry == *file)) {
            assert!(is_whole(&place.read(&format!("ca/{file}"))), "{file} is not whole after {after:?}");
        }
        if place.path("ca/ca.key").exists() {
            place.ca(&["inspect", "--dir", "ca"]).succeeded();
        } else {
            assert!(!place.path("ca/ca.crt").exists(), "a certificate without its key after {after:?}");
            place.ca(&["generate", "--out", "ca"]).succeeded();
        }
        assert_eq!((place.mode("ca/ca.key"), place.mode("ca/ca.crt")), (0o600, 0o644));
        killed
    });
}

#[test]
fn a_ca_that_is_replaced_is_the_old_one_or_the_new_one() {
    let place = Place::with_ca(&[]);
    let args = ["generate", "--out", "ca", "--force"];
    spread(&args, |after| {
        let killed = killed(&place, &args, after);
        place.ca(&["inspect", "--dir", "ca"]).succeeded();
        killed
    });
    place.ca(&args).succeeded();
    assert_eq!(place.entries("ca"), ["ca.crt", "ca.key"], "what was left half written is gone");
}

#[test]
fn whatever_a_rotation_leaves_the_bundle_trusts_the_ca_that_signs() {
    let place = Place::with_ca(&[]);
    place.ca(&["rotate", "--dir", "ca"]).succeeded();
    spread(&["rotate", "--dir", "ca"], |after| {
        let killed = killed(&place, &["rotate", "--dir", "ca"], after);
        place.ca(&["issue", "--dir", "ca", "a.example", "--force"]).succeeded();
        place.verify("ca/bundle.crt", &["a.example.crt"]).succeeded();
        killed
    });
    place.ca(&["rotate", "--dir", "ca"]).succeeded();
    assert_eq!(place.entries("ca"), ["bundle.crt", "ca.crt", "ca.key", "previous.crt"]);
}

#[test]
fn killed_between_key_and_certificate_the_next_command_finishes() {
    let (place, new) = (Place::with_ca(&[]), Place::with_ca(&[]));
    place.write("ca/ca.key", new.read("ca/ca.key"));
    place.write("ca/ca.crt.new", new.read("ca/ca.crt"));
    place.ca(&["inspect", "--dir", "ca"]).succeeded();
    assert_eq!(place.read("ca/ca.crt"), new.read("ca/ca.crt"));
    assert_eq!(place.entries("ca"), ["ca.crt", "ca.key"]);
}

#[test]
fn killed_before_the_key_the_old_ca_stands() {
    let (place, new) = (Place::with_ca(&[]), Place::with_ca(&[]));
    let old = place.read("ca/ca.crt");
    place.write("ca/ca.crt.new", new.read("ca/ca.crt"));
    place.ca(&["inspect", "--dir", "ca"]).succeeded();
    assert_eq!(place.read("ca/ca.crt"), old);
    assert_eq!(place.entries("ca"), ["ca.crt", "ca.key"]);
}

#[test]
fn a_stranger_certificate_beside_the_pair_is_never_taken() {
    let (place, stranger) = (Place::with_ca(&[]), Place::with_ca(&[]));
    place.write("ca/ca.crt", "broken");
    place.write("ca/ca.crt.new", stranger.read("ca/ca.crt"));
    assert_eq!(place.ca(&["inspect", "--dir", "ca"]).code, Some(1));
    assert_eq!(place.read("ca/ca.crt"), "broken");
}
