//! The whole life with exactly the rights of manifests/base/rbac.yaml, and what these rights are not for.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use sandgate_testkit::api_server::{ApiServer, kubectl};
use serde_json::json;

use crate::scene::{Scene, client, eventually, from, is, rendering};

const USER: &str = "system:serviceaccount:sandgate-system:sandgate-webhook";

fn apply(server: &ApiServer) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/rbac.yaml");
    let mut command = Command::new(kubectl());
    command.arg("--kubeconfig").arg(server.admin()).arg("apply").arg("-f").arg(manifest);
    let applied = command.output().unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_manifests_suffice_for_the_whole_life() {
    let mut scene = Scene::bare("sandgate-system").await;
    let path = tokio::task::spawn_blocking(|| {
        apply(ApiServer::shared());
        ApiServer::shared().kubeconfig(USER, &["system:serviceaccounts"])
    });
    let webhook = client(&path.await.unwrap()).await;
    // The names that the rights are for, which are the defaults.
    scene.create_renderings().await;
    let certificate = &mut scene.config.certificate;
    certificate.mutating_configuration = "sandgate-webhook".to_owned();
    certificate.validating_configuration = "sandgate-webhook".to_owned();
    certificate.ca_lifetime = Duration::from_secs(3600);
    certificate.rotate_before = certificate.ca_lifetime - Duration::from_secs(2);
    certificate.trust_delay = Duration::from_secs(1);
    scene.configurations = "sandgate-webhook".to_owned();
    scene.create_configurations().await;

    let replicas = ["a", "b"].map(|name| scene.replica_with(name, webhook.clone(), &rendering(name)));
    for replica in &replicas {
        replica.ready().await;
    }
    let first = scene.secret_text("ca.crt").await;
    eventually("the CA is rotated", async || {
        let gone = scene.bundles().await.iter().all(|(_, bundle)| !bundle.contains(&first));
        if gone { Ok(()) } else { Err("the first one is there".to_owned()) }
    })
    .await;
    scene.delete_secret().await;
    eventually("the secret is there again", async || is(async { scene.secret().await.is_some() }).await).await;
    scene.set_bundle("first", "").await;
    eventually("the bundle is repaired", async || {
        is(async { scene.bundles().await.iter().all(|(_, bundle)| !bundle.is_empty()) }).await
    })
    .await;
    scene.config_maps().delete("sandgate-renderings", &DeleteParams::default()).await.unwrap();
    scene.create_renderings().await;
    eventually("the renderings are there again", async || {
        let object = scene.config_maps().get("sandgate-renderings").await.unwrap();
        if object.data.unwrap_or_default().len() == 2 { Ok(()) } else { Err("not both".to_owned()) }
    })
    .await;
    Scene::bare("rights-other").await;
    eventually("a new namespace is known", async || {
        let found = replicas[0].cluster.namespaces.get("rights-other").await;
        found.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    refusals(&webhook).await;
}

/// What the webhook may not: nothing of Secrets, ConfigMaps, pods or nodes elsewhere, and no other name at home.
async fn refusals(webhook: &Client) {
    let home = "sandgate-system";
    let forbidden = |result: Result<(), kube::Error>, what: &str| match result {
        Err(kube::Error::Api(status)) if status.is_forbidden() => {}
        found => panic!("{what}: {found:?}"),
    };
    let secrets = |namespace: &str| Api::<Secret>::namespaced(webhook.clone(), namespace);
    let config_maps = |namespace: &str| Api::<ConfigMap>::namespaced(webhook.clone(), namespace);
    let secret: Secret = from(json!({"metadata": {"name": "other"}}));
    let config_map: ConfigMap = from(json!({"metadata": {"name": "other"}}));
    let post = PostParams::default();
    forbidden(secrets(home).get("other").await.map(drop), "another secret at home");
    forbidden(secrets(home).list(&ListParams::default()).await.map(drop), "all secrets at home");
    forbidden(secrets("default").get("sandgate-webhook-ca").await.map(drop), "a secret elsewhere");
    forbidden(secrets("default").create(&post, &secret).await.map(drop), "making a secret elsewhere");
    forbidden(config_maps(home).get("other").await.map(drop), "another configmap at home");
    forbidden(config_maps(home).create(&post, &config_map).await.map(drop), "making a configmap at home");
    forbidden(config_maps("default").get("sandgate-renderings").await.map(drop), "a configmap elsewhere");
    forbidden(Api::<Pod>::all(webhook.clone()).list(&ListParams::default()).await.map(drop), "pods");
    forbidden(Api::<Node>::all(webhook.clone()).list(&ListParams::default()).await.map(drop), "nodes");
}
