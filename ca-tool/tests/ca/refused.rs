//! CAs that can't work: each refused with its reason and the file at fault, and never a word of the key.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use crate::harness::Place;
use crate::imported::{self, CA, make};

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

/// Every command that reads the CA exits with 1, names `words`, and shows nothing of the key.
#[track_caller]
fn refused(place: &Place, words: &[&str]) {
    let key = place.read("ca/ca.key");
    let secrets = key.lines().filter(|line| line.len() > 20 && !line.contains('-'));
    let secrets: Vec<_> = secrets.collect();
    for args in [["inspect", "--dir", "ca"], ["secret", "--dir", "ca"], ["rotate", "--dir", "ca"]] {
        let said = place.ca(&args);
        said.failed(1, words);
        assert!(!secrets.iter().any(|line| said.out.contains(line) || said.err.contains(line)), "{said:?}");
        assert!(args[0] == "inspect" || said.out.is_empty(), "{said:?}");
    }
    place.ca(&["issue", "--dir", "ca", "a.example"]).failed(1, words);
    assert!(!place.path("a.example.key").exists());
}

fn cut(text: &str, part: usize) -> String {
    text[..text.len() * part / 100].to_owned()
}

#[test]
fn a_key_of_another_certificate() {
    let (place, other) = (Place::with_ca(&[]), Place::with_ca(&["--key-type", "p384"]));
    place.write("ca/ca.key", other.read("ca/ca.key"));
    refused(&place, &["ca: ", "does not belong", "CN=Sandgate CA"]);
}

#[test]
fn files_that_are_empty_or_swapped() {
    let place = Place::with_ca(&[]);
    let (certificate, key) = (place.read("ca/ca.crt"), place.read("ca/ca.key"));
    place.write("ca/ca.crt", "");
    refused(&place, &["no certificate"]);
    place.write("ca/ca.crt", &key);
    refused(&place, &["no certificate"]);
    place.write("ca/ca.crt", &certificate);
    place.write("ca/ca.key", &certificate);
    refused(&place, &["ca/ca.key: no private key"]);
    place.write("ca/ca.key", "");
    refused(&place, &["ca/ca.key: no private key"]);
    place.write("ca/ca.key", key.clone() + &key);
    refused(&place, &["ca/ca.key: several private keys"]);
}

#[test]
fn files_that_are_cut_off_anywhere() {
    for part in [10, 50, 90, 97] {
        let place = Place::with_ca(&[]);
        let (certificate, key) = (place.read("ca/ca.crt"), place.read("ca/ca.key"));
        place.write("ca/ca.crt", cut(&certificate, part));
        refused(&place, &["certificate can't be read", "cut off"]);
        place.write("ca/ca.crt", certificate);
        place.write("ca/ca.key", cut(&key, part));
        refused(&place, &["ca/ca.key: ", "cut off"]);
    }
}

#[test]
fn pem_with_something_else_in_it() {
    let place = Place::with_ca(&[]);
    let (certificate, key) = (place.read("ca/ca.crt"), place.read("ca/ca.key"));
    let garbage = |label: &str| format!("-----BEGIN {label}-----\nZ2FyYmFnZQ==\n-----END {label}-----\n");
    place.write("ca/ca.crt", garbage("CERTIFICATE"));
    refused(&place, &["no X.509 certificate"]);
    place.write("ca/ca.crt", certificate.replace("MII", "!!!"));
    refused(&place, &["base64"]);
    place.write("ca/ca.crt", certificate);
    place.write("ca/ca.key", garbage("PRIVATE KEY"));
    refused(&place, &["ca/ca.key: ", "unsupported type"]);
    place.write("ca/ca.key", key.replace("MI", "!!"));
    refused(&place, &["ca/ca.key: ", "base64"]);
}

#[test]
fn keys_that_are_encrypted() {
    let place = make("/CN=x", "-newkey rsa:2048", CA);
    place.openssl(&["pkey", "-in", "ca/ca.key", "-aes256", "-passout", "pass:secret", "-out", "pkcs8"]);
    place.openssl(&["rsa", "-in", "ca/ca.key", "-traditional", "-aes256", "-passout", "pass:secret", "-out", "old"]);
    for file in ["pkcs8", "old"] {
        place.write("ca/ca.key", place.read(file));
        refused(&place, &["ca/ca.key: ", "encrypted", "openssl pkey"]);
    }
}

#[test]
fn keys_that_not_every_client_knows() {
    let keys = ["-newkey rsa:1024", "-newkey ed25519", "-newkey ec -pkeyopt ec_paramgen_curve:P-521"];
    for key in keys {
        refused(&make("/CN=x", key, CA), &["ca/ca.key: ", "unsupported type", "P-256"]);
    }
}

#[test]
fn certificates_that_are_no_ca() {
    let plain = CA.replace("CA:TRUE,pathlen:0", "CA:FALSE");
    refused(&make("/CN=leaf", EC, &plain), &["CN=leaf", "is not a CA"]);
    refused(&make("/CN=v3", EC, "subjectKeyIdentifier=hash\n"), &["CN=v3", "is not a CA"]);
    let usage = CA.replace("keyCertSign", "digitalSignature");
    refused(&make("/CN=usage", EC, &usage), &["CN=usage", "keyCertSign"]);
    let purpose = format!("{CA}extendedKeyUsage=clientAuth\n");
    refused(&make("/CN=purpose", EC, &purpose), &["CN=purpose", "serverAuth"]);
    let no_key_id = CA.replace("subjectKeyIdentifier=hash", "subjectKeyIdentifier=none");
    refused(&make("/CN=noid", EC, &no_key_id), &["CN=noid", "subjectKeyIdentifier"]);
}

/// A CA whose validity starts and ends so many days from now.
fn valid(from: i64, until: i64) -> Place {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = OffsetDateTime::now_utc() + Duration::days(from);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(until);
    let place = Place::new();
    place.write("ca/ca.crt", params.self_signed(&key).unwrap().pem());
    place.write("ca/ca.key", key.serialize_pem());
    place
}

#[test]
fn certificates_whose_time_is_over_or_to_come() {
    refused(&valid(-10, -1), &["expired at ", "UTC", "make a new CA"]);
    refused(&valid(1, 10), &["not valid before ", "UTC", "clock"]);
}

#[test]
fn chains_that_are_none() {
    let place = imported::intermediate(&imported::root());
    let (middle, root) = (place.read("middle.crt"), place.read("root.crt"));
    place.write("ca/ca.crt", root + &middle);
    refused(&place, &["does not belong", "the first one"]);
    let stranger = make("/CN=Stranger", EC, CA);
    place.write("ca/ca.crt", middle + &stranger.read("ca/ca.crt"));
    refused(&place, &["CN=Middle", "CN=Root", "CN=Stranger"]);
}

#[test]
fn chains_that_no_client_accepts() {
    // The root lets nobody below it be a CA.
    let place = imported::intermediate(CA);
    refused(&place, &["CN=Root", "only 0 CAs", "pathLenConstraint"]);
    // A root of the same name with another key.
    let (place, other) = (imported::intermediate(&imported::root()), imported::intermediate(&imported::root()));
    place.write("ca/ca.crt", place.read("middle.crt") + &other.read("root.crt"));
    refused(&place, &["CN=Middle", "refused"]);
}

#[test]
fn constraints_on_directory_names_which_the_verifier_does_not_know() {
    let extensions = format!("{CA}nameConstraints=critical,permitted;dirName:dir\n[dir]\nO=Org\n");
    refused(&make("/O=Org/CN=x", EC, &extensions), &["CN=x", "refused"]);
}

#[test]
fn files_that_are_no_files_of_a_ca() {
    let place = Place::with_ca(&[]);
    place.write("ca/ca.crt", vec![b'x'; (1 << 20) + 1]);
    refused(&place, &["ca/ca.crt is larger than 1 MiB"]);
    place.write("ca/ca.crt", [0xff, 0xfe]);
    refused(&place, &["can't read ca/ca.crt"]);
}
