//! `secret`: YAML that Kubernetes reads as it was meant.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::harness::Place;

/// One document: the path of a value, such as `metadata.name`, with the value and its style.
type Document = BTreeMap<String, (String, ScalarStyle)>;

/// Mappings of mappings of scalars, which is all that the command writes.
fn documents(text: &str) -> Vec<Document> {
    let (mut documents, mut path, mut key) = (Vec::new(), Vec::<String>::new(), None::<String>);
    for event in Parser::new_from_str(text) {
        match event.expect("valid YAML").0 {
            Event::DocumentStart(_) => documents.push(Document::new()),
            Event::MappingStart(..) => path.extend(key.take()),
            Event::MappingEnd => {
                path.pop();
            }
            Event::Scalar(value, style, ..) => match key.take() {
                None => key = Some(value.into_owned()),
                Some(name) => {
                    let path = path.iter().chain([&name]).cloned().collect::<Vec<_>>().join("/");
                    documents.last_mut().unwrap().insert(path, (value.into_owned(), style));
                }
            },
            _ => {}
        }
    }
    documents
}

fn value<'a>(document: &'a Document, path: &str) -> &'a str {
    &document.get(path).unwrap_or_else(|| panic!("no {path} in {document:?}")).0
}

fn decoded(document: &Document, path: &str) -> String {
    String::from_utf8(STANDARD.decode(value(document, path)).unwrap()).unwrap()
}

#[test]
fn a_secret_and_a_config_map_with_the_public_half_come_out() {
    let place = Place::with_ca(&[]);
    let out = place.ca(&["secret", "--dir", "ca", "--namespace", "sandboxes"]).succeeded().out;
    let documents = documents(&out);
    let [secret, config_map] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!(value(secret, "kind"), "Secret");
    assert_eq!(value(secret, "type"), "kubernetes.io/tls");
    assert_eq!(value(secret, "metadata/name"), "sandbox-proxy-ca");
    assert_eq!(value(secret, "metadata/namespace"), "sandboxes");
    assert_eq!(decoded(secret, "data/tls.crt"), place.read("ca/ca.crt"));
    assert_eq!(decoded(secret, "data/tls.key"), place.read("ca/ca.key"));
    assert!(!secret.contains_key("data/previous.crt"));
    assert_eq!(value(config_map, "kind"), "ConfigMap");
    assert_eq!(value(config_map, "metadata/name"), "sandbox-proxy-ca-bundle");
    assert_eq!(value(config_map, "data/ca.crt"), place.read("ca/ca.crt"));
    let public = out.split("\n---\n").nth(1).unwrap();
    assert!(!public.contains("PRIVATE") && !public.contains(value(secret, "data/tls.key")));
}

#[test]
fn after_a_rotation_both_certificates_are_there() {
    let place = Place::with_ca(&[]);
    place.ca(&["rotate", "--dir", "ca"]).succeeded();
    let documents = documents(&place.ca(&["secret", "--dir", "ca"]).succeeded().out);
    assert_eq!(decoded(&documents[0], "data/previous.crt"), place.read("ca/previous.crt"));
    assert_eq!(decoded(&documents[0], "data/tls.crt"), place.read("ca/ca.crt"));
    assert_eq!(value(&documents[1], "data/bundle.crt"), place.read("ca/bundle.crt"));
    assert!(!documents[0].contains_key("metadata/namespace"), "kubectl's own namespace holds");
}

#[test]
fn names_that_yaml_would_take_for_something_else_stay_names() {
    let place = Place::with_ca(&[]);
    for name in ["true", "null", "1e3", "0x10", "123"] {
        let documents = documents(&place.ca(&["secret", "--dir", "ca", "--name", name, "-n", name]).succeeded().out);
        for path in ["metadata/name", "metadata/namespace"] {
            assert_eq!(documents[0][path], (name.to_owned(), ScalarStyle::DoubleQuoted));
        }
    }
}

#[test]
fn names_that_kubernetes_refuses_are_wrong_usage() {
    let place = Place::with_ca(&[]);
    place.ca(&["secret", "--dir", "ca", "--name", "A_b"]).failed(64, &["\"A_b\"", "name of a Secret"]);
    place.ca(&["secret", "--dir", "ca", "--namespace", "a.b"]).failed(64, &["\"a.b\"", "namespace"]);
}

#[test]
fn a_pair_that_does_not_belong_together_is_not_published() {
    let (place, other) = (Place::with_ca(&[]), Place::with_ca(&[]));
    place.write("ca/ca.key", other.read("ca/ca.key"));
    let said = place.ca(&["secret", "--dir", "ca"]);
    said.failed(1, &["ca: ", "does not belong"]);
    assert!(said.out.is_empty());
}
