//! What is made from the tables of settings and variables: the references in docs/, and what docker-compose.yml gives its
//! workload.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{env, fs};

use sandgate_contract::{PROXY_PORT, TRUST_DIR, environment};

/// Where the sidecar listens in docker-compose.yml.
const COMPOSE_SIDECAR: [u8; 4] = [172, 31, 250, 2];

#[test]
fn the_reference_is_up_to_date() {
    is_up_to_date("docs/settings.md", &sandgate_sidecar::settings::markdown());
}

#[test]
fn the_page_on_the_environment_is_up_to_date() {
    is_up_to_date("docs/environment.md", &sandgate_sidecar::environment::markdown());
}

#[test]
fn the_variables_of_compose_are_those_that_pods_get() {
    let proxy = SocketAddr::from((COMPOSE_SIDECAR, PROXY_PORT));
    let mut made = String::from(
        "# Made from the table in contract/src/environment.rs. After a change there:\n\
         # UPDATE_DOCS=1 cargo test -p sandgate-sidecar --test settings\n",
    );
    for (variable, value) in environment(proxy, TRUST_DIR, &[]) {
        assert!(!value.contains(['\'', '\n']), "{value} needs another way to be quoted");
        made += &format!("{}='{value}'\n", variable.name);
    }
    is_up_to_date("compose/environment.env", &made);
    let compose = fs::read_to_string(repository("docker-compose.yml")).expect("it is there");
    assert!(compose.contains(&format!("SANDGATE_LISTEN: {proxy}\n")), "the sidecar listens elsewhere");
}

fn repository(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn is_up_to_date(name: &str, text: &str) {
    let path = repository(name);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).expect("the repository can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{name} is out of date: UPDATE_DOCS=1 cargo test -p sandgate-sidecar --test settings");
}
