//! A Secret that somebody deleted, broke or replaced.

use kube::api::PostParams;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use sandgate_ca::{Authority, KeyType, Profile};
use serde_json::json;

use crate::scene::{Scene, eventually, from, is};

fn authority() -> Authority {
    Authority::generate(&Profile {
        common_name: "Somebody's CA".to_owned(),
        organization: None,
        lifetime: time::Duration::days(30),
        key_type: KeyType::P256,
        constraints: None,
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_is_written_again_with_the_same_ca() {
    let scene = Scene::new("deleted").await;
    let replicas = [scene.replica("a"), scene.replica("b")];
    for replica in &replicas {
        replica.ready().await;
    }
    let (ca, key) = (scene.secret_text("ca.crt").await, scene.secret_text("ca.key").await);
    scene.delete_secret().await;
    eventually("it is there again", async || is(async { scene.secret_text("ca.crt").await == ca }).await).await;
    assert_eq!(scene.secret_text("ca.key").await, key);
    assert!(scene.bundles_are(&ca).await);
    for replica in &replicas {
        replica.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_secret_is_written_again_from_memory() {
    let scene = Scene::new("broken").await;
    let replica = scene.replica("a");
    replica.ready().await;
    let (ca, key) = (scene.secret_text("ca.crt").await, scene.secret_text("ca.key").await);
    let other = authority();
    for (name, text) in [("ca.crt", "garbage"), ("ca.key", ""), ("ca.key", &other.private_key_pem())] {
        scene.patch_secret(&[(name, text)]).await;
        eventually("it is mended", async || {
            is(async {
                (scene.secret_text("ca.crt").await, scene.secret_text("ca.key").await) == (ca.clone(), key.clone())
            })
            .await
        })
        .await;
    }
    scene.patch_secret(&[("next.crt", "garbage"), ("previous.crt", "garbage")]).await;
    eventually("what is no CA is removed", async || {
        let data = scene.secret().await.unwrap().data.unwrap();
        if data.len() == 2 { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
    assert!(scene.bundles_are(&ca).await);
    replica.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_ca_takes_over_without_cutting_off_who_serves_the_old_one() {
    let mut scene = Scene::new("foreign").await;
    scene.config.certificate.trust_delay = std::time::Duration::from_secs(1);
    let replica = scene.replica("a");
    replica.ready().await;
    let old = scene.secret_text("ca.crt").await;
    let foreign = authority();
    let (certificate, key) = (foreign.certificate_pem(), foreign.private_key_pem());
    scene.patch_secret(&[("ca.crt", &certificate), ("ca.key", &key)]).await;
    let both = old.clone() + &certificate;
    eventually("both are trusted", async || is(scene.bundles_are(&both)).await).await;
    eventually("the foreign one alone", async || is(scene.bundles_are(&certificate)).await).await;
    assert_eq!(replica.verifies(&certificate), Ok(()));
    replica.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_or_unreadable_ca_at_the_start_is_replaced() {
    for (name, certificate) in [("ended", true), ("unreadable", false)] {
        let scene = Scene::new(name).await;
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        let text = if certificate { params.self_signed(&pair).unwrap().pem() } else { "garbage".to_owned() };
        let data = json!({"ca.crt": text, "ca.key": pair.serialize_pem()});
        let secret =
            json!({"metadata": {"name": "sandgate-webhook-ca", "labels": {"kept": "yes"}}, "stringData": data});
        scene.secrets().create(&PostParams::default(), &from(secret)).await.unwrap();
        let replica = scene.replica("a");
        replica.ready().await;
        let ca = scene.secret_text("ca.crt").await;
        assert_ne!(ca, text, "{name}");
        assert_eq!(replica.verifies(&ca), Ok(()));
        assert_eq!(scene.secret().await.unwrap().metadata.labels.unwrap()["kept"], "yes");
    }
}
