//! CAs that were made elsewhere, with OpenSSL: they work, byte for byte.

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clients::connect;
use crate::harness::Place;

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

/// Extensions of a CA in OpenSSL's syntax.
pub(crate) const CA: &str =
    "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n";

/// Makes a self-signed certificate `ca/ca.crt` and `ca/ca.key` with OpenSSL.
pub(crate) fn make(subject: &str, key: &str, extensions: &str) -> Place {
    let place = Place::new();
    place.write("ca/x", "");
    make_in(&place, "ca/ca", subject, key, extensions);
    place
}

pub(crate) fn make_in(place: &Place, stem: &str, subject: &str, key: &str, extensions: &str) {
    place.write("conf", format!("[req]\ndistinguished_name=dn\n[dn]\n[ext]\n{extensions}"));
    let (certificate, key_file) = (format!("{stem}.crt"), format!("{stem}.key"));
    let mut args = vec!["req", "-x509", "-config", "conf", "-extensions", "ext", "-utf8", "-nodes", "-days", "30"];
    args.extend(["-subj", subject, "-out", &certificate, "-keyout", &key_file]);
    args.extend(key.split(' '));
    place.openssl(&args);
}

/// Issues a leaf, and has OpenSSL and Python judge it strictly.
fn works(place: &Place, trusted: &str) {
    place.ca(&["inspect", "--dir", "ca"]).succeeded();
    place.ca(&["issue", "--dir", "ca", "a.example", "--force"]).succeeded();
    place.verify(trusted, &["-untrusted", "a.example.crt", "a.example.crt"]).succeeded();
    connect(place, "a.example", trusted, "a.example").succeeded();
    place.ca(&["secret", "--dir", "ca"]).succeeded();
}

/// The DER of the issuer of `leaf` and of the subject of `ca`.
fn names(place: &Place, leaf: &str, ca: &str) -> (Vec<u8>, Vec<u8>) {
    let der = |file: &str| {
        place.openssl(&["x509", "-in", file, "-outform", "der", "-out", "der"]);
        std::fs::read(place.path("der")).unwrap()
    };
    let (leaf, ca) = (der(leaf), der(ca));
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    (leaf.issuer().as_raw().to_vec(), ca.subject().as_raw().to_vec())
}

#[test]
fn a_subject_that_rcgen_can_not_write_is_the_issuer_byte_for_byte() {
    let subjects = [
        "/DC=example/DC=corp/DC=emea/OU=one/OU=two/OU=three/CN=Corp CA",
        "/O=Org+OU=Unit/CN=several attributes in one part",
        "/C=DE/ST=Köln/O=Ünï/CN=not ASCII/emailAddress=ca@a.example/serialNumber=7",
        "/O=Org",
    ];
    for subject in subjects {
        let place = make(subject, EC, CA);
        works(&place, "ca/ca.crt");
        let (issuer, subject) = names(&place, "a.example.crt", "ca/ca.crt");
        assert_eq!(issuer, subject);
    }
}

#[test]
fn rsa_keys_work_as_pkcs8_and_as_pkcs1() {
    for bits in ["2048", "3072"] {
        let place = make("/CN=RSA", &format!("-newkey rsa:{bits}"), CA);
        assert!(place.read("ca/ca.key").contains("BEGIN PRIVATE KEY"));
        works(&place, "ca/ca.crt");
        place.openssl(&["rsa", "-in", "ca/ca.key", "-traditional", "-out", "ca/ca.key"]);
        assert!(place.read("ca/ca.key").contains("BEGIN RSA PRIVATE KEY"));
        works(&place, "ca/ca.crt");
    }
}

#[test]
fn elliptic_keys_work_as_pkcs8_and_as_sec1_with_their_parameters() {
    for (curve, name) in [("P-256", "prime256v1"), ("P-384", "secp384r1")] {
        let place = make("/CN=EC", &EC.replace("P-256", curve), CA);
        works(&place, "ca/ca.crt");
        place.openssl(&["ec", "-in", "ca/ca.key", "-out", "sec1"]);
        let parameters = place.openssl(&["ecparam", "-name", name]);
        place.write("ca/ca.key", parameters + &place.read("sec1"));
        assert!(place.read("ca/ca.key").contains("BEGIN EC PRIVATE KEY"));
        works(&place, "ca/ca.crt");
    }
}

/// A root, and an intermediate CA in `ca` whose file has the whole chain.
pub(crate) fn intermediate(root_extensions: &str) -> Place {
    let place = Place::new();
    place.write("ca/x", "");
    make_in(&place, "root", "/CN=Root", EC, root_extensions);
    let request = format!("req -new -nodes -config conf -subj /CN=Middle -keyout ca/ca.key -out csr {EC}");
    place.openssl(&request.split(' ').collect::<Vec<_>>());
    place.write("ext", format!("{CA}authorityKeyIdentifier=keyid\n"));
    let sign = "x509 -req -in csr -CA root.crt -CAkey root.key -CAcreateserial -days 9 -extfile ext -out middle.crt";
    place.openssl(&sign.split(' ').collect::<Vec<_>>());
    place.write("ca/ca.crt", place.read("middle.crt") + &place.read("root.crt"));
    place
}

pub(crate) fn root() -> String {
    CA.replace(",pathlen:0", "")
}

#[test]
fn an_intermediate_works_and_is_sent_without_the_root() {
    let place = intermediate(&root());
    works(&place, "root.crt");
    let sent = place.read("a.example.crt");
    assert!(sent.ends_with(&place.read("middle.crt")), "the intermediate is sent");
    assert!(!sent.contains(&place.read("root.crt")), "the root is not");
    assert_eq!(sent.matches("BEGIN").count(), 2);
}

#[test]
fn an_intermediate_alone_works_with_a_warning() {
    let place = intermediate(&root());
    place.write("ca/ca.crt", place.read("middle.crt"));
    works(&place, "root.crt");
    let said = place.ca(&["inspect", "--dir", "ca"]).succeeded();
    assert!(said.out.contains("warning:") && said.out.contains("append the root"), "{said:?}");
}

#[test]
fn the_constraints_of_a_root_hold_for_its_intermediate() {
    let place = intermediate(&format!("{}nameConstraints=critical,permitted;DNS:a.example\n", root()));
    works(&place, "root.crt");
    place.ca(&["issue", "--dir", "ca", "b.example"]).failed(1, &["name constraints", "b.example"]);
}

#[test]
fn an_intermediate_is_not_rotated_here() {
    let place = intermediate(&root());
    place.ca(&["rotate", "--dir", "ca"]).failed(1, &["CN=Middle", "signed by another CA"]);
}

#[test]
fn a_subject_that_can_not_be_made_again_needs_another_for_the_rotation() {
    let place = make("/DC=example/DC=corp/CN=Corp CA", EC, CA);
    place.ca(&["rotate", "--dir", "ca"]).failed(1, &["DC=corp", "--subject"]);
    place.ca(&["rotate", "--dir", "ca", "--subject", "Corp CA 2"]).succeeded();
    place.ca(&["issue", "--dir", "ca", "a.example"]).succeeded();
    place.verify("ca/bundle.crt", &["a.example.crt"]).succeeded();
}

#[test]
fn what_only_strict_clients_mind_is_a_warning() {
    let place = make("/CN=Old", EC, "basicConstraints=CA:TRUE\nsubjectKeyIdentifier=hash\n");
    let said = place.ca(&["inspect", "--dir", "ca"]).succeeded();
    for word in ["basicConstraints are not critical", "no keyUsage", "Python 3.13"] {
        assert!(said.out.contains(word), "no {word} in {said:?}");
    }
}

#[test]
fn text_around_the_pem_does_no_harm() {
    let place = make("/CN=Text", EC, CA);
    let certificate = place.openssl(&["x509", "-in", "ca/ca.crt", "-text"]);
    place.write("ca/ca.crt", certificate.replace('\n', "\r\n"));
    works(&place, "ca/ca.crt");
}
