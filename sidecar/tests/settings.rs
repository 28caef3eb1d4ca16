//! The references in docs/ are what the program takes, and what a program that uses it gets.

use std::path::PathBuf;
use std::{env, fs};

#[test]
fn the_reference_is_up_to_date() {
    is_up_to_date("settings.md", &sandgate_sidecar::settings::markdown());
}

#[test]
fn the_page_on_the_environment_is_up_to_date() {
    is_up_to_date("environment.md", &sandgate_sidecar::environment::markdown());
}

fn is_up_to_date(name: &str, page: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page).expect("docs/ can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/{name} is out of date: UPDATE_DOCS=1 cargo test --test settings");
}
