//! What the webhook writes into pods is what this program takes: the arguments of every sidecar in the webhook's golden
//! patches are parsed here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use sandgate_sidecar::cli::{self, Action};
use sandgate_sidecar::settings::CaSource;
use serde_json::Value;

/// Every command line (arguments after the program's name) of sidecars in the golden patches.
fn command_lines(of: fn(&Value) -> Option<&Value>) -> BTreeSet<Vec<String>> {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../webhook/tests/golden");
    let folders = fs::read_dir(golden).expect("the webhook has golden patches");
    let patches = folders.map(|folder| folder.expect("it can be listed").path().join("patch.json"));
    let mut found = BTreeSet::new();
    for patch in patches.filter(|patch| patch.exists()) {
        collect(&read(&patch), of, &mut found);
    }
    found
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it can be read")).expect("it is JSON")
}

fn collect(json: &Value, of: fn(&Value) -> Option<&Value>, found: &mut BTreeSet<Vec<String>>) {
    match json {
        Value::Object(object) => {
            if object.get("name").is_some_and(|name| name == sandgate_contract::CONTAINER_NAME) {
                let texts = of(json).and_then(Value::as_array).expect("a sidecar has them");
                found.insert(texts.iter().map(|text| text.as_str().expect("a text").to_owned()).collect());
            }
            object.values().for_each(|value| collect(value, of, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, of, found)),
        _ => {}
    }
}

fn parse(arguments: &[String]) -> Action {
    let line = ["sandgate-sidecar"].into_iter().chain(arguments.iter().map(String::as_str)).map(OsString::from);
    // A Service named `sandgate` puts such variables into every container.
    let service = [("SANDGATE_LISTEN".into(), "tcp://10.0.0.1:80".into()), ("SANDGATE_PORT".into(), "80".into())];
    cli::parse(line, &service).unwrap_or_else(|stop| panic!("{arguments:?}: {stop:?}"))
}

#[test]
fn the_arguments_of_every_injected_sidecar_are_settings_of_this_program() {
    let lines = command_lines(|sidecar| sidecar.get("args"));
    let mut sources = BTreeSet::new();
    for line in &lines {
        let Action::Serve(settings) = parse(line) else { panic!("{line:?} does not serve") };
        assert!(settings.warnings.is_empty(), "{line:?}: {:?}", settings.warnings);
        assert!(settings.listen.iter().all(|address| address.ip().is_loopback()), "{line:?}");
        assert!(!settings.dns.is_empty(), "{line:?}");
        assert_eq!(settings.trust_path.as_deref(), Some(Path::new(sandgate_contract::TRUST_DIR)), "{line:?}");
        sources.insert(settings.ca == CaSource::Generate);
    }
    assert_eq!(sources.len(), 2, "both sources of a CA are among the golden patches");
}

#[test]
fn the_gate_of_every_injected_sidecar_is_a_health_check_that_waits() {
    let lines = command_lines(|sidecar| sidecar.pointer("/lifecycle/postStart/exec/command"));
    assert!(!lines.is_empty());
    for line in &lines {
        let Action::Healthcheck { wait, .. } = parse(&line[1..]) else { panic!("{line:?} asks nothing") };
        assert!(!wait.is_zero(), "{line:?}");
    }
}
