//! The reference of the configuration in docs/ is what the program takes.

use std::path::PathBuf;
use std::{env, fs};

use sandgate_webhook::config::{Config, markdown};

#[test]
fn the_reference_of_the_configuration_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = markdown();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).expect("docs/ can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let command = "UPDATE_DOCS=1 cargo test -p sandgate-webhook --test configuration";
    assert!(written == page, "docs/configuration.md is out of date: {command}");
}

#[test]
fn the_example_in_the_reference_is_valid() {
    let page = markdown();
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it has an example");
    let config = Config::parse(example.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_ne!(config, Config::default());
}

#[test]
fn the_configuration_in_the_manifests_is_valid() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/config.yaml");
    let manifest = fs::read_to_string(path).expect("the manifests are there");
    let config_map = manifest.split("\n---\n").next().unwrap_or_default();
    let config_map: serde_json::Value = serde_saphyr::from_str(config_map).expect("it is YAML");
    assert_eq!(config_map["metadata"]["name"], "sandgate-webhook-config");
    let text = config_map["data"]["config.yaml"].as_str().expect("it has the key that is mounted");
    Config::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
}
