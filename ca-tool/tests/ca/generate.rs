//! `generate`: what it writes, with which modes, what it never overwrites, and what others make of it.

use std::os::unix::fs::symlink;

use crate::harness::{Place, SANDGATE_CA, Said};

#[test]
fn files_have_their_modes_whatever_the_umask() {
    for umask in ["000", "077"] {
        let place = Place::new();
        let script = format!("umask {umask}; exec \"$0\" generate --out ca");
        place.run("sh", &["-c", &script, SANDGATE_CA]).succeeded();
        assert_eq!((place.mode("ca/ca.key"), place.mode("ca/ca.crt")), (0o600, 0o644), "umask {umask}");
        assert_eq!(place.mode("ca"), 0o755, "umask {umask}");
        assert_eq!(place.entries("ca"), ["ca.crt", "ca.key"], "nothing else is left");
    }
}

#[test]
fn a_ca_is_not_overwritten_without_force() {
    let place = Place::with_ca(&[]);
    let before = (place.read("ca/ca.crt"), place.read("ca/ca.key"));
    place
        .ca(&["generate", "--out", "ca"])
        .failed(1, &["ca/ca.key is there already", "--force", "sandgate-ca rotate --dir ca"]);
    assert_eq!((place.read("ca/ca.crt"), place.read("ca/ca.key")), before);

    place.ca(&["generate", "--out", "ca", "--force"]).succeeded();
    assert_ne!(place.read("ca/ca.crt"), before.0);
    assert_ne!(place.read("ca/ca.key"), before.1);
    place.ca(&["inspect", "--dir", "ca"]).succeeded();
}

#[test]
fn of_many_at_once_one_makes_the_ca() {
    let place = Place::new();
    let outcomes: Vec<Said> = std::thread::scope(|scope| {
        let start = || scope.spawn(|| place.ca(&["generate", "--out", "ca"]));
        let started: Vec<_> = (0..8).map(|_| start()).collect();
        started.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|said| said.code == Some(0)).count(), 1, "{outcomes:?}");
    for said in outcomes.iter().filter(|said| said.code != Some(0)) {
        let told = ["is there already", "another process"].iter().any(|reason| said.err.contains(reason));
        assert!(said.code == Some(1) && told, "{said:?}");
    }
    place.ca(&["inspect", "--dir", "ca"]).succeeded();
    assert_eq!(place.entries("ca"), ["ca.crt", "ca.key"]);
}

#[test]
fn either_file_alone_keeps_a_ca_from_being_made() {
    for file in ["ca/ca.crt", "ca/ca.key"] {
        let place = Place::new();
        place.write(file, "somebody's");
        place.ca(&["generate", "--out", "ca"]).failed(1, &[file, "--force"]);
        assert_eq!(place.entries("ca").len(), 1);
        assert_eq!(place.read(file), "somebody's");
    }
}

#[test]
fn force_replaces_a_symbolic_link_and_not_what_it_points_to() {
    let place = Place::new();
    place.write("precious", "precious");
    place.write("ca/x", "");
    symlink(place.path("precious"), place.path("ca/ca.key")).unwrap();
    place.ca(&["generate", "--out", "ca"]).failed(1, &["ca/ca.key"]);
    place.ca(&["generate", "--out", "ca", "--force"]).succeeded();
    assert_eq!(place.read("precious"), "precious");
    assert!(!place.path("ca/ca.key").is_symlink());
    assert_eq!(place.mode("ca/ca.key"), 0o600);
}

#[test]
fn force_removes_what_a_rotation_left() {
    let place = Place::with_ca(&[]);
    place.ca(&["rotate", "--dir", "ca"]).succeeded();
    place.ca(&["generate", "--out", "ca", "--force"]).succeeded();
    assert_eq!(place.entries("ca"), ["ca.crt", "ca.key"]);
}

#[test]
fn each_key_type_signs_what_openssl_verifies_strictly() {
    for (key_type, shown) in [("p256", "P-256"), ("p384", "P-384"), ("rsa4096", "(4096 bit)")] {
        let place = Place::with_ca(&["--key-type", key_type]);
        place.ca(&["issue", "--dir", "ca", "a.example"]).succeeded();
        place.verify("ca/ca.crt", &["-verify_hostname", "a.example", "a.example.crt"]).succeeded();
        let text = place.openssl(&["x509", "-in", "ca/ca.crt", "-noout", "-text"]);
        assert!(text.contains(shown), "{text}");
        place.openssl(&["pkey", "-in", "ca/ca.key", "-check", "-noout"]);
    }
}

#[test]
fn the_certificate_is_what_rfc_5280_asks_of_a_ca() {
    let place = Place::with_ca(&["--subject", "Team A", "--organization", "Example", "--days", "30"]);
    let text = place.openssl(&["x509", "-in", "ca/ca.crt", "-noout", "-text"]);
    assert!(text.contains("Subject: O = Example, CN = Team A"), "{text}");
    let critical = |name: &str, value: &str| {
        let at = text.find(&format!("{name}: critical")).unwrap_or_else(|| panic!("{name} in {text}"));
        assert!(text[at..].lines().nth(1).unwrap().contains(value), "{text}");
    };
    critical("X509v3 Basic Constraints", "CA:TRUE, pathlen:0");
    critical("X509v3 Key Usage", "Certificate Sign, CRL Sign");
    assert!(text.contains("X509v3 Subject Key Identifier"), "{text}");
    let ends_within = |days: u32| {
        let seconds = (days * 86_400).to_string();
        place.run("openssl", &["x509", "-in", "ca/ca.crt", "-noout", "-checkend", &seconds]).code == Some(1)
    };
    assert!(!ends_within(29) && ends_within(30));
}

#[test]
fn a_leaf_has_what_strict_clients_ask_for() {
    let place = Place::with_ca(&[]);
    place.ca(&["issue", "--dir", "ca", "a.example"]).succeeded();
    let leaf = place.openssl(&["x509", "-in", "a.example.crt", "-noout", "-text"]);
    let ca = place.openssl(&["x509", "-in", "ca/ca.crt", "-noout", "-ext", "subjectKeyIdentifier"]);
    let key_id = ca.lines().nth(1).unwrap().trim();
    let after = |name: &str| leaf[leaf.find(name).unwrap()..].lines().nth(1).unwrap().trim().to_owned();
    assert_eq!(after("X509v3 Authority Key Identifier"), key_id);
    assert_eq!(after("X509v3 Subject Alternative Name"), "DNS:a.example");
    assert_eq!(after("X509v3 Key Usage"), "Digital Signature");
    assert_eq!(after("X509v3 Extended Key Usage"), "TLS Web Server Authentication");
    assert_eq!(after("X509v3 Basic Constraints"), "CA:FALSE");
    assert!(leaf.contains("Subject: CN = Sandgate leaf"), "{leaf}");
    assert_eq!(place.mode("a.example.key"), 0o600);
}

#[test]
fn serial_numbers_of_leaves_differ() {
    let place = Place::with_ca(&[]);
    let serial = |out: &str| {
        place.ca(&["issue", "--dir", "ca", "a.example", "--out", out]).succeeded();
        place.openssl(&["x509", "-in", &format!("{out}/a.example.crt"), "-noout", "-serial"])
    };
    assert_ne!(serial("one"), serial("two"));
}

#[test]
fn a_leaf_ends_with_its_ca_at_the_latest() {
    let place = Place::with_ca(&["--days", "3"]);
    place.ca(&["issue", "--dir", "ca", "a.example", "--days", "400"]).succeeded();
    let end = |file: &str| place.openssl(&["x509", "-in", file, "-noout", "-enddate"]);
    assert_eq!(end("a.example.crt"), end("ca/ca.crt"));
}

#[test]
fn issue_overwrites_nothing_without_force() {
    let place = Place::with_ca(&[]);
    place.write("a.example.crt", "mine");
    place.ca(&["issue", "--dir", "ca", "a.example"]).failed(1, &["a.example.crt is there already"]);
    assert!(!place.path("a.example.key").exists(), "no half of a pair");
    place.ca(&["issue", "--dir", "ca", "a.example", "--force"]).succeeded();
    place.verify("ca/ca.crt", &["a.example.crt"]).succeeded();
}

#[test]
fn the_output_says_what_where_until_when_and_what_next() {
    let place = Place::new();
    let out = place.ca(&["generate", "--out", "ca"]).succeeded().out;
    for word in ["Sandgate CA", "ca/ca.crt", "ca/ca.key", "valid until", "UTC", "sandgate-ca secret --dir ca"] {
        assert!(out.contains(word), "no {word:?} in {out}");
    }
    let fingerprint = place.openssl(&["x509", "-in", "ca/ca.crt", "-noout", "-fingerprint", "-sha256"]);
    assert!(out.contains(fingerprint.trim().split_once('=').unwrap().1), "{out}");
}

#[test]
fn wrong_usage_exits_64_and_help_0() {
    let place = Place::new();
    let wrong: [&[&str]; 12] = [
        &[],
        &["nonsense"],
        &["generate", "--nonsense"],
        &["generate", "--days", "0"],
        &["generate", "--days", "x"],
        &["generate", "--key-type", "dsa"],
        &["generate", "--subject", ""],
        &["generate", "--subject", "a name of more than sixty-four characters, which X.509 does not let"],
        &["generate", "--permit", "a b"],
        &["issue"],
        &["issue", "../a"],
        &["inspect", "--dir", "a", "b"],
    ];
    for args in wrong {
        let said = place.ca(args);
        assert_eq!(said.code, Some(64), "{args:?}: {said:?}");
        assert!(!said.err.is_empty(), "{args:?}");
    }
    assert_eq!(place.entries("."), [""; 0], "wrong usage writes nothing");
    for command in ["generate", "secret", "rotate", "inspect", "issue"] {
        let said = place.ca(&[command, "--help"]).succeeded();
        assert!(said.out.contains("Examples:\n  $ sandgate-ca"), "{said:?}");
    }
    place.ca(&["--help"]).succeeded();
}

#[test]
fn update_ca_certificates_takes_the_file() {
    let place = Place::with_ca(&[]);
    place.write("local/sandgate.crt", place.read("ca/ca.crt"));
    for directory in ["certs/x", "etc/x", "hooks/x"] {
        place.write(directory, "");
    }
    place.write("conf", "");
    // The program changes its directory, so that it takes absolute paths only.
    let flags = ["conf", "certs", "local", "etc", "hooks"].map(|name| place.path(name).display().to_string());
    let [conf, certs, local, etc, hooks] = flags.each_ref().map(String::as_str);
    let args = ["--certsconf", conf, "--certsdir", certs, "--localcertsdir", local, "--etccertsdir", etc];
    let said = place.run("/usr/sbin/update-ca-certificates", &[&args[..], &["--hooksdir", hooks]].concat()).succeeded();
    assert!(said.out.contains("1 added"), "{said:?}");
    assert_eq!(place.read("etc/ca-certificates.crt"), place.read("ca/ca.crt"));
    place.ca(&["issue", "--dir", "ca", "a.example"]).succeeded();
    let said = place.run("openssl", &["verify", "-x509_strict", "-no-CAfile", "-CApath", "etc", "a.example.crt"]);
    said.succeeded();
}
