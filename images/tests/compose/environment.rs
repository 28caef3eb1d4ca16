//! The workload's variables are those of the table that pods get.

use std::net::SocketAddr;
use std::{env, fs};

use sandgate_contract::{PROXY_PORT, TRUST_DIR, environment};
use sandgate_images_test::repository;

/// Where the sidecar listens in docker-compose.yml.
const SIDECAR: [u8; 4] = [172, 31, 250, 2];

#[test]
fn the_file_of_variables_is_made_from_the_table() {
    let proxy = SocketAddr::from((SIDECAR, PROXY_PORT));
    let mut made = String::from(
        "# Made from the table in contract/src/environment.rs. After a change there:\n\
         # UPDATE_DOCS=1 cargo test -p sandgate-images-test --test compose environment\n",
    );
    for (variable, value) in environment(proxy, TRUST_DIR, &[]) {
        assert!(!value.contains(['\'', '\n']), "{value} needs another way to be quoted");
        made += &format!("{}='{value}'\n", variable.name);
    }
    let path = repository("compose/environment.env");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &made).expect("compose/ can be written");
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), made);
    let compose = fs::read_to_string(repository("docker-compose.yml")).expect("it is there");
    assert!(compose.contains(&format!("SANDGATE_LISTEN: {proxy}\n")), "the sidecar listens elsewhere");
}
