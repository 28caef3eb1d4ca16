//! `rotate`: the successor beside the old CA, and a bundle that trusts both.

use crate::clients::connect;
use crate::harness::Place;

#[test]
fn the_bundle_trusts_what_either_ca_signed() {
    let place = Place::with_ca(&[]);
    let old = place.read("ca/ca.crt");
    place.ca(&["issue", "--dir", "ca", "old.example"]).succeeded();
    place.ca(&["rotate", "--dir", "ca"]).succeeded();
    place.ca(&["issue", "--dir", "ca", "new.example"]).succeeded();

    assert_eq!(place.read("ca/previous.crt"), old);
    assert_eq!(place.read("ca/bundle.crt"), place.read("ca/ca.crt") + &old);
    assert_eq!(place.entries("ca"), ["bundle.crt", "ca.crt", "ca.key", "previous.crt"], "the old key is not kept");
    assert_eq!(place.mode("ca/ca.key"), 0o600);
    for name in ["old.example", "new.example"] {
        place.verify("ca/bundle.crt", &[&format!("{name}.crt")]).succeeded();
        connect(&place, name, "ca/bundle.crt", name).succeeded();
    }
    assert_ne!(place.verify("ca/ca.crt", &["old.example.crt"]).code, Some(0));
    assert_ne!(place.verify("ca/previous.crt", &["new.example.crt"]).code, Some(0));
}

#[test]
fn the_successor_is_like_the_old_one() {
    let place = Place::with_ca(&[
        "--subject",
        "Team A",
        "--organization",
        "Org",
        "--key-type",
        "p384",
        "--days",
        "40",
        "--permit",
        "a.example",
    ]);
    let facts = |place: &Place| {
        let text = place.ca(&["inspect", "ca/ca.crt"]).succeeded().out;
        let kept = |line: &&str| !["serial", "SHA-256", "valid from"].iter().any(|word| line.starts_with(word));
        let lines: Vec<String> = text.lines().filter(kept).map(|line| line.replace(" (39 days left)", "")).collect();
        // The minute may have passed between the two.
        lines
            .into_iter()
            .map(|line| line.split(" UTC").next().unwrap()[..line.len().min(23)].to_owned())
            .collect::<Vec<_>>()
    };
    let before = facts(&place);
    place.ca(&["rotate", "--dir", "ca"]).succeeded();
    assert_eq!(facts(&place), before);
    assert!(place.ca(&["inspect", "ca/ca.crt"]).out.contains("P-384"));
}

#[test]
fn what_is_asked_to_be_different_is_different() {
    let place = Place::with_ca(&["--permit", "a.example"]);
    let args = ["--subject", "New", "--days", "5", "--key-type", "p384", "--permit", "b.example"];
    place.ca(&[&["rotate", "--dir", "ca"], &args[..]].concat()).succeeded();
    let text = place.ca(&["inspect", "ca/ca.crt"]).succeeded().out;
    for word in ["CN=New", "4 days left", "P-384", "b.example"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

#[test]
fn the_output_names_both_cas() {
    let place = Place::with_ca(&[]);
    let fingerprint = |place: &Place| {
        let text = place.openssl(&["x509", "-in", "ca/ca.crt", "-noout", "-fingerprint", "-sha256"]);
        text.trim().split_once('=').unwrap().1.to_owned()
    };
    let old = fingerprint(&place);
    let out = place.ca(&["rotate", "--dir", "ca"]).succeeded().out;
    for word in [&old, &fingerprint(&place), "ca/previous.crt", "ca/bundle.crt", "sandgate-ca secret"] {
        assert!(out.contains(word), "no {word} in {out}");
    }
}

#[test]
fn without_a_ca_there_is_no_successor() {
    let place = Place::new();
    place.ca(&["rotate", "--dir", "ca"]).failed(1, &["no CA in ca", "sandgate-ca generate --out ca"]);
    assert!(!place.path("ca").exists());
}

#[test]
fn a_pair_that_does_not_belong_together_is_not_rotated() {
    let (place, other) = (Place::with_ca(&[]), Place::with_ca(&[]));
    place.write("ca/ca.key", other.read("ca/ca.key"));
    let before = place.read("ca/ca.crt");
    place.ca(&["rotate", "--dir", "ca"]).failed(1, &["does not belong"]);
    assert_eq!(place.read("ca/ca.crt"), before);
    assert_eq!(place.entries("ca"), ["ca.crt", "ca.key"]);
}
