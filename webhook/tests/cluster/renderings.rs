//! Renderings: published before a replica is ready, known to all others, and published again when they vanish.

use kube::api::{DeleteParams, Patch, PatchParams};
use sandgate_webhook::health::Condition;
use sandgate_webhook::rendering::Rendering;
use serde_json::json;

use crate::scene::{Replica, Scene, eventually, rendering};

const NAME: &str = "sandgate-renderings";

fn versions(replica: &Replica) -> Vec<String> {
    let mut versions: Vec<_> =
        replica.cluster.renderings.accepted().iter().map(|rendering| rendering.version.clone()).collect();
    versions.sort();
    versions
}

async fn accepts(replica: &Replica, expected: &[&str]) {
    eventually("the others' are accepted", async || {
        let found = versions(replica);
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

async fn keys(scene: &Scene) -> Vec<String> {
    let object = scene.config_maps().get_opt(NAME).await.unwrap();
    object.and_then(|object| object.data).unwrap_or_default().into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_makes_is_genuine_to_all_before_it_is_ready() {
    let scene = Scene::new("two-renderings").await;
    let old = scene.replica_with("old", scene.client.clone(), &rendering("1"));
    old.ready().await;
    let new = scene.replica_with("new", scene.client.clone(), &rendering("2"));
    new.ready().await;
    accepts(&old, &["1", "2"]).await;
    accepts(&new, &["1", "2"]).await;
    assert_eq!(keys(&scene).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_publishes_first_and_withdraws_what_the_configuration_withdraws() {
    let scene = Scene::new("reload").await;
    let replica = scene.replica("a");
    let other = scene.replica("b");
    replica.ready().await;
    other.ready().await;
    let withdrawn = keys(&scene).await;
    replica.cluster.renderings.publish(&rendering("2"), &withdrawn).await.unwrap();
    assert_eq!(keys(&scene).await.len(), 2, "it is stored when the call returns");
    accepts(&replica, &["2"]).await;
    accepts(&other, &["1", "2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_replicas_that_publish_at_once_all_get_their_turn() {
    let scene = Scene::new("many-renderings").await;
    let renderings: Vec<Rendering> = (0..6).map(|number| rendering(&number.to_string())).collect();
    let start = |rendering: &Rendering| scene.replica_with(&rendering.version, scene.client.clone(), rendering);
    let replicas: Vec<_> = renderings.iter().map(start).collect();
    for replica in &replicas {
        replica.ready().await;
    }
    for replica in &replicas {
        accepts(replica, &["0", "1", "2", "3", "4", "5"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_that_is_missing_at_the_start_is_named_and_waited_for() {
    let scene = Scene::bare("no-config-map").await;
    scene.create_configurations().await;
    let replica = scene.replica("a");
    eventually("it says what is missing", async || {
        let why = replica.unmet(Condition::Renderings);
        if why.contains("configmap no-config-map/sandgate-renderings does not exist") { Ok(()) } else { Err(why) }
    })
    .await;
    assert!(replica.cluster.renderings.publish(&rendering("2"), &[]).await.is_err());
    scene.create_renderings().await;
    replica.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanishes_is_published_again_from_memory_and_stays_accepted_meanwhile() {
    let scene = Scene::new("vanished").await;
    let replica = scene.replica_with("a", scene.client.clone(), &rendering("1"));
    replica.ready().await;
    replica.cluster.renderings.publish(&rendering("2"), &[]).await.unwrap();
    let before = keys(&scene).await;
    assert_eq!(before.len(), 2);
    scene.config_maps().delete(NAME, &DeleteParams::default()).await.unwrap();
    scene.create_renderings().await;
    let all_there = async || {
        let found = keys(&scene).await;
        if found == before { Ok(()) } else { Err(format!("{found:?}")) }
    };
    eventually("all are published again", all_there).await;
    for data in [json!({}), json!({"garbage": "{"})] {
        let mut object = scene.config_maps().get(NAME).await.unwrap();
        object.data = serde_json::from_value(data).unwrap();
        scene.config_maps().replace(NAME, &Default::default(), &object).await.unwrap();
        eventually("all are published again", all_there).await;
    }
    assert_eq!(versions(&replica), ["1", "2"]);
    replica.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_rendering_is_ignored() {
    let scene = Scene::new("odd-renderings").await;
    let replica = scene.replica("a");
    replica.ready().await;
    let forged = serde_json::to_string(&rendering("forged")).unwrap();
    let data = json!({"000000000000": forged, "garbage": "{", "empty": ""});
    scene.config_maps().patch(NAME, &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await.unwrap();
    let other = scene.replica_with("b", scene.client.clone(), &rendering("2"));
    other.ready().await;
    accepts(&replica, &["1", "2"]).await;
    accepts(&other, &["1", "2"]).await;
}
