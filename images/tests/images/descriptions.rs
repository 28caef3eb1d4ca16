//! What an image says of itself: user, ports, program, health check and labels.

use std::collections::BTreeSet;

use sandgate_contract::{HEALTH_PORT, IMAGE_UID, PROXY_PORT};
use sandgate_images_test::inspect;
use serde_json::{Value, json};

use crate::{BOTH, Image, SIDECAR, WEBHOOK, text};

fn config(image: &Image) -> Value {
    inspect(&image.tag())["Config"].take()
}

#[test]
fn it_runs_as_a_user_that_is_not_root() {
    for image in BOTH {
        assert_eq!(config(image)["User"], format!("{IMAGE_UID}:{IMAGE_UID}"));
    }
}

#[test]
fn it_names_the_ports_that_its_program_listens_on() {
    let webhook_port = 8443;
    for (image, port) in [(&SIDECAR, PROXY_PORT), (&WEBHOOK, webhook_port)] {
        assert_eq!(config(image)["ExposedPorts"], json!({format!("{port}/tcp"): {}, format!("{HEALTH_PORT}/tcp"): {}}));
    }
    // Nobody but a pod's manifest says which one is the webhook's.
    assert!(text("manifests/base/deployment.yaml").contains(&format!("containerPort: {webhook_port}")));
}

#[test]
fn it_starts_its_program_and_asks_it_whether_it_is_well() {
    for image in BOTH {
        let config = config(image);
        let program = format!("/{}", image.program);
        assert_eq!(config["Entrypoint"], json!([program]));
        assert_eq!(config["Cmd"][0], "serve");
        assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", program, "healthcheck"]));
    }
}

#[test]
fn its_labels_say_what_it_is_and_what_it_was_built_from() {
    let manifest = text("Cargo.toml");
    let said = |key: &str| {
        let line =
            manifest.lines().find_map(|line| line.strip_prefix(&format!("{key} = \""))).expect("a key of the manifest");
        line.trim_end_matches('"').to_owned()
    };
    for image in BOTH {
        let labels = config(image)["Labels"].take();
        let label =
            |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default().to_owned();
        assert_eq!(label("title"), image.program);
        assert_eq!(label("version"), said("version"));
        assert_eq!(label("licenses"), said("license"));
        assert_eq!(label("source"), said("repository"));
        assert!(label("description").len() > 30, "{labels}");
        let revision = label("revision");
        assert!(revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()), "{labels}");
    }
}

#[test]
fn both_dockerfiles_build_in_the_same_way() {
    let steps = |image: &Image| -> Vec<String> {
        let file = text(&format!("Dockerfile.{}", image.name));
        let file = file.replace(image.program, "PROGRAM");
        file.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (sidecar, webhook) = (steps(&SIDECAR), steps(&WEBHOOK));
    let differ: BTreeSet<&str> = sidecar
        .iter()
        .zip(&webhook)
        .filter(|(one, other)| one != other)
        .map(|(one, _)| one.split_whitespace().next().unwrap_or_default())
        .collect();
    assert_eq!(sidecar.len(), webhook.len());
    assert_eq!(differ, BTreeSet::from(["CMD", "EXPOSE", "org.opencontainers.image.description=\"The"]));
}
