//! `inspect`: what it tells, and its exit code.

use crate::harness::Place;

#[test]
fn it_tells_what_openssl_tells() {
    let place = Place::with_ca(&["--organization", "Org", "--permit", "a.example", "--days", "10"]);
    let out = place.ca(&["inspect", "--dir", "ca"]).succeeded().out;
    let openssl = |field: &[&str]| {
        let args = [&["x509", "-in", "ca/ca.crt", "-noout"], field].concat();
        place.openssl(&args).trim().split_once('=').unwrap().1.to_owned()
    };
    assert!(out.contains(&openssl(&["-fingerprint", "-sha256"])), "{out}");
    assert!(out.replace(':', "").contains(&openssl(&["-serial"])), "{out}");
    for word in ["O=Org, CN=Sandgate CA", "9 days left", "P-256", "path length 0", "a.example", "0.0.0.0/0", "::/0"] {
        assert!(out.contains(word), "no {word} in {out}");
    }
    assert!(out.contains("private key: belongs to the certificate"), "{out}");
}

#[test]
fn a_file_with_several_certificates_is_told_whole() {
    let place = Place::with_ca(&[]);
    place.ca(&["rotate", "--dir", "ca"]).succeeded();
    let out = place.ca(&["inspect", "ca/bundle.crt"]).succeeded().out;
    assert_eq!(out.matches("subject:").count(), 2, "{out}");
    let out = place.ca(&["inspect", "--dir", "ca"]).succeeded().out;
    assert!(out.contains("previous.crt, the CA before the rotation"), "{out}");
}

#[test]
fn a_directory_is_taken_for_one_without_its_flag() {
    let place = Place::with_ca(&[]);
    let out = place.ca(&["inspect", "ca"]).succeeded().out;
    assert!(out.contains("private key: belongs"), "{out}");
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::with_ca(&[]);
    place.ca(&["inspect", "nowhere"]).failed(1, &["nowhere"]);
    std::fs::remove_file(place.path("ca/ca.key")).unwrap();
    let said = place.ca(&["inspect", "--dir", "ca"]);
    said.failed(1, &["ca/ca.key", "No such file"]);
    assert!(said.out.contains("CN=Sandgate CA"), "the certificate is told all the same: {said:?}");
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let place = Place::new();
    place.write("notes.txt", "no certificate");
    place.ca(&["inspect", "notes.txt"]).failed(1, &["sandgate-ca: notes.txt: "]);
    place.write("ca/ca.crt", "no certificate");
    place.write("ca/ca.key", "no key");
    let said = place.ca(&["inspect", "--dir", "ca"]);
    said.failed(1, &["sandgate-ca: ca/ca.crt: "]);
    let mut lines: Vec<&str> = said.err.lines().collect();
    lines.dedup();
    assert_eq!(lines.len(), said.err.lines().count(), "nothing is said twice: {said:?}");
}

#[test]
fn a_name_with_control_characters_does_not_reach_the_terminal() {
    let place = crate::imported::make("/CN=a\u{1b}[31mb", "-newkey rsa:2048", crate::imported::CA);
    let said = place.ca(&["inspect", "ca/ca.crt"]).succeeded();
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
}
