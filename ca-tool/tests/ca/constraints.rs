//! Name constraints: OpenSSL holds whoever has the key to them, both ways.

use crate::harness::{Place, Said};

/// Signs a leaf for `san` with OpenSSL, which does not look at constraints when it signs, and verifies it.
fn sign_and_verify(place: &Place, san: &str) -> Said {
    let extensions = format!(
        "subjectAltName={san}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
         authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    );
    place.write("ext", extensions);
    let request = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -subj /CN=x -out csr";
    place.openssl(&request.split(' ').collect::<Vec<_>>());
    let sign = "x509 -req -in csr -CA ca/ca.crt -CAkey ca/ca.key -CAcreateserial -days 1 -extfile ext -out leaf";
    place.openssl(&sign.split(' ').collect::<Vec<_>>());
    place.verify("ca/ca.crt", &["leaf"])
}

#[test]
fn openssl_accepts_what_is_permitted_and_nothing_else() {
    let place = Place::with_ca(&["--permit", "a.example", "--permit", "*.b.example", "--permit", "192.0.2.1"]);
    for san in ["DNS:a.example", "DNS:x.a.example", "DNS:x.b.example", "IP:192.0.2.1"] {
        sign_and_verify(&place, san).succeeded();
    }
    let refused = ["DNS:c.example", "DNS:xa.example", "IP:192.0.2.2", "IP:2001:db8::1", "DNS:a.example,DNS:c.example"];
    for san in refused {
        let said = sign_and_verify(&place, san);
        assert!(said.code != Some(0) && said.err.contains("subtree violation"), "{san}: {said:?}");
    }
}

#[test]
fn without_a_literal_no_address_is_accepted_and_without_a_name_no_name() {
    let names_only = Place::with_ca(&["--permit", "a.example"]);
    for san in ["IP:192.0.2.1", "IP:2001:db8::1"] {
        assert!(sign_and_verify(&names_only, san).err.contains("excluded subtree violation"), "{san}");
    }
    let addresses_only = Place::with_ca(&["--permit", "[2001:db8::1]"]);
    sign_and_verify(&addresses_only, "IP:2001:db8::1").succeeded();
    assert!(sign_and_verify(&addresses_only, "DNS:a.example").err.contains("excluded subtree violation"));
}

#[test]
fn issue_keeps_to_the_constraints() {
    let place = Place::with_ca(&["--permit", "a.example", "--permit", "2001:db8::1"]);
    for (name, stem) in [("a.example", "a.example"), ("x.a.example", "x.a.example"), ("2001:db8::1", "2001_db8__1")] {
        place.ca(&["issue", "--dir", "ca", name]).succeeded();
        place.verify("ca/ca.crt", &[&format!("{stem}.crt")]).succeeded();
    }
    for name in ["c.example", "192.0.2.1", "2001:db8::2"] {
        place.ca(&["issue", "--dir", "ca", name]).failed(1, &["name constraints", name]);
    }
}

#[test]
fn a_thousand_names_work_and_one_more_is_refused_by_count() {
    let hosts: Vec<String> = (0..1_001).map(|number| format!("h{number}.example")).collect();
    let args = |count: usize| hosts[..count].iter().flat_map(|host| ["--permit", host]).collect::<Vec<_>>();
    let place = Place::with_ca(&args(1_000));
    place.ca(&["issue", "--dir", "ca", "h999.example"]).succeeded();
    place.verify("ca/ca.crt", &["h999.example.crt"]).succeeded();
    let said = place.ca(&[&["generate", "--out", "more"], &args(1_001)[..]].concat());
    said.failed(64, &["1001 names", "at most 1000"]);
}
