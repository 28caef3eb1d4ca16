//! The first start, replicas that start together, and caBundles that somebody changes.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams};
use sandgate_webhook::health::Condition;
use serde_json::json;

use crate::scene::{Scene, eventually, is, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_a_ca_fills_every_bundle_and_is_ready() {
    let scene = Scene::new("first-start").await;
    let mut replica = scene.replica("a");
    replica.ready().await;
    let ended = tokio::time::timeout(Duration::from_millis(200), replica.cluster.ended()).await;
    assert!(ended.is_err(), "{ended:?}: what has done its duty is no failure");
    let ca = scene.secret_text("ca.crt").await;
    assert!(scene.bundles_are(&ca).await, "{:?}", scene.bundles().await);
    assert_eq!(replica.verifies(&ca), Ok(()));
    let key = replica.cluster.certificate.current().unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&key.cert[0]).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let service = "sandgate-webhook.first-start";
    let expected = ["DNSName({}.svc)", "DNSName({}.svc.cluster.local)", "DNSName({})"];
    assert_eq!(names, expected.map(|name| name.replace("{}", service)));
    assert!(replica.metric("sandgate_webhook_certificate_expiry_timestamp_seconds") > 1e9);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_agree_on_one_ca() {
    let scene = Scene::new("together").await;
    let replicas: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().map(|name| scene.replica(name)).collect();
    for replica in &replicas {
        replica.ready().await;
    }
    let ca = scene.secret_text("ca.crt").await;
    assert_eq!(ca.matches("BEGIN CERTIFICATE").count(), 1);
    assert!(scene.bundles_are(&ca).await);
    for replica in &replicas {
        assert_eq!(replica.verifies(&ca), Ok(()));
    }
    let later = scene.replica("later");
    later.ready().await;
    assert_eq!(scene.secret_text("ca.crt").await, ca, "a replica that comes later takes the one that is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_not_exist_yet_is_waited_for() {
    let scene = Scene::bare("waiting").await;
    scene.create_renderings().await;
    let replica = scene.replica("a");
    eventually("it says what is missing", async || {
        let why = replica.unmet(Condition::Certificate);
        if why.contains("MutatingWebhookConfiguration waiting does not exist") { Ok(()) } else { Err(why) }
    })
    .await;
    scene.create_configurations().await;
    replica.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_somebody_changes_is_repaired_at_once_and_nothing_else_is_touched() {
    let scene = Scene::new("repair").await;
    let replicas = [scene.replica("a"), scene.replica("b")];
    for replica in &replicas {
        replica.ready().await;
    }
    let ca = scene.secret_text("ca.crt").await;
    for broken in ["", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", &(ca.clone() + &ca)] {
        scene.set_bundle("second", broken).await;
        let start = Instant::now();
        // It is due within 2 s; the rest is for a busy machine.
        within(Duration::from_secs(5), "it is repaired", async || is(scene.bundles_are(&ca)).await).await;
        eprintln!("repaired after {:?}", start.elapsed());
    }
    for replica in &replicas {
        replica.ready().await;
    }
    assert!(
        replicas.iter().map(|replica| replica.metric("sandgate_webhook_ca_bundle_repairs_total")).sum::<f64>() >= 3.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_may_be_reordered_added_and_removed_and_keep_what_is_theirs() {
    let scene = Scene::new("entries").await;
    let replica = scene.replica("a");
    replica.ready().await;
    let ca = scene.secret_text("ca.crt").await;
    let mut object = scene.mutating().get("entries").await.unwrap();
    let entries = object.webhooks.as_mut().unwrap();
    let mut third = entries[0].clone();
    third.name = "third.test.sandgate.dev".to_owned();
    third.client_config.ca_bundle = None;
    third.timeout_seconds = Some(3);
    entries[0].client_config.ca_bundle = None;
    entries.insert(0, third);
    entries.pop();
    scene.mutating().replace("entries", &Default::default(), &object).await.unwrap();
    eventually("all have it", async || is(scene.bundles_are(&ca)).await).await;
    let entries = scene.mutating().get("entries").await.unwrap().webhooks.unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.timeout_seconds)).collect();
    assert_eq!(seen, [("third.test.sandgate.dev", Some(3)), ("first.test.sandgate.dev", Some(10))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_deleted_and_made_again_is_filled_again() {
    let scene = Scene::new("made-again").await;
    let replica = scene.replica("a");
    replica.ready().await;
    scene.mutating().delete("made-again", &DeleteParams::default()).await.unwrap();
    scene.validating().delete("made-again", &DeleteParams::default()).await.unwrap();
    scene.create_configurations().await;
    let ca = scene.secret_text("ca.crt").await;
    eventually("all have it", async || is(scene.bundles_are(&ca)).await).await;
    replica.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_deleted_or_emptied_is_measured_until_it_is_back() {
    let scene = Scene::new("measured").await;
    let replica = scene.replica("a");
    replica.ready().await;
    replica.configurations_present(&[1.0, 1.0]).await;
    scene.validating().delete("measured", &DeleteParams::default()).await.unwrap();
    replica.configurations_present(&[1.0, 0.0]).await;
    assert_eq!(replica.unmet(Condition::Certificate), "", "it serves on, for whoever still calls");
    let none = Patch::Merge(json!({"webhooks": []}));
    scene.mutating().patch("measured", &PatchParams::default(), &none).await.unwrap();
    replica.configurations_present(&[0.0, 0.0]).await;
    scene.mutating().delete("measured", &DeleteParams::default()).await.unwrap();
    scene.create_configurations().await;
    replica.configurations_present(&[1.0, 1.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serving_certificate_is_renewed_before_it_ends() {
    let mut scene = Scene::new("mismatch").await;
    scene.config.certificate.serving_lifetime = Duration::from_secs(3);
    let replica = scene.replica("a");
    replica.ready().await;
    let first = replica.cluster.certificate.current().unwrap();
    eventually("it is renewed before it ends", async || {
        let now = replica.cluster.certificate.current().unwrap();
        if now.cert[0] == first.cert[0] { Err("the same is served".to_owned()) } else { Ok(()) }
    })
    .await;
    replica.ready().await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
    scene.mutating().patch("mismatch", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(replica.unmet(Condition::Certificate), "");
}
