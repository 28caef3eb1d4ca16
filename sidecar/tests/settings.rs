//! The reference of settings in docs/ is what the program takes.

use std::path::PathBuf;
use std::{env, fs};

#[test]
fn the_reference_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let page = sandgate_sidecar::settings::markdown();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/settings.md is out of date: UPDATE_DOCS=1 cargo test --test settings");
}
