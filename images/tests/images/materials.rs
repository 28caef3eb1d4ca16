//! What the images are made of: the crates in the list beside each, and Dockerfiles that hadolint has nothing to say of.

use std::collections::BTreeSet;
use std::process::Command;

use sandgate_images_test::{must, repository, run};
use serde_json::Value;

use crate::{BOTH, Image, text};

/// The crates of the SBOM beside an image, as `name version`.
fn in_the_sbom(image: &Image) -> BTreeSet<String> {
    let sbom: Value =
        serde_json::from_str(&text(&format!("target/images/{}-amd64.cdx.json", image.name))).expect("JSON");
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    let word = |one: &Value, key: &str| one[key].as_str().expect("a text").to_owned();
    let components = sbom["components"].as_array().expect("components").iter();
    let crates = components.filter(|one| one["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/")));
    crates.map(|one| format!("{} {}", word(one, "name"), word(one, "version"))).collect()
}

/// The crates that cargo links into a program, as `name version`.
fn linked(image: &Image) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository("")).args(["tree", "--locked", "--package", image.program, "--prefix=none"]);
    cargo.args(["--edges=normal,no-proc-macro", "--target=x86_64-unknown-linux-gnu", "--format={p}"]);
    let said = must(&mut cargo);
    let named = said.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?.trim_start_matches('v')))
    });
    named.collect()
}

/// The versions that Cargo.lock has of a crate.
fn locked(name: &str) -> Vec<String> {
    let lock = text("Cargo.lock");
    let version = |package: &str| Some(package.split_once("version = \"")?.1.split_once('"')?.0.to_owned());
    lock.split("[[package]]\n")
        .filter(|package| package.starts_with(&format!("name = \"{name}\"\n")))
        .filter_map(version)
        .collect()
}

#[test]
fn the_sbom_has_rustls_as_it_is_locked_and_every_linked_crate() {
    for image in BOTH {
        let (sbom, linked) = (in_the_sbom(image), linked(image));
        let rustls = locked("rustls");
        assert_eq!(rustls.len(), 1, "{rustls:?}");
        assert!(sbom.contains(&format!("rustls {}", rustls[0])), "{sbom:?}");
        let missing: Vec<_> = linked.difference(&sbom).collect();
        assert!(missing.is_empty() && linked.len() > 100, "{}: {missing:?} of {}", image.name, linked.len());
    }
}

#[test]
fn hadolint_has_nothing_to_say() {
    let files = ["Dockerfile.sidecar", "Dockerfile.webhook", "compose/Dockerfile", "kind-test/workloads/Dockerfile"];
    let said = run(Command::new(repository("target/image-tools/bin/hadolint")).args(files.map(repository)));
    assert!(said.code == Some(0) && said.out.is_empty(), "{said:#?}");
}
