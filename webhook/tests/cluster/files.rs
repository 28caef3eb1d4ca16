//! The certificate from files: loaded, reloaded by content, held against the live caBundles, and nothing written.

use std::fs;
use std::path::Path;

use kube::api::PostParams;
use rcgen::{CertificateParams, KeyPair};
use sandgate_webhook::config::CertificateSource;
use sandgate_webhook::health::Condition;

use crate::scene::{Replica, Scene, client, eventually, rendering};

/// A self-signed certificate of the Service as cert-manager would write it; it is its own caBundle.
fn write(directory: &Path, namespace: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![format!("sandgate-webhook.{namespace}.svc")]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    fs::write(directory.join("tls.crt"), &certificate).unwrap();
    fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
    certificate
}

async fn set_bundles(scene: &Scene, bundle: &str) {
    let bytes = k8s_openapi::ByteString(bundle.as_bytes().to_vec());
    let mut mutating = scene.mutating().get(&scene.namespace).await.unwrap();
    for entry in mutating.webhooks.iter_mut().flatten() {
        entry.client_config.ca_bundle = Some(bytes.clone());
    }
    scene.mutating().replace(&scene.namespace, &PostParams::default(), &mutating).await.unwrap();
    let mut validating = scene.validating().get(&scene.namespace).await.unwrap();
    for entry in validating.webhooks.iter_mut().flatten() {
        entry.client_config.ca_bundle = Some(bytes.clone());
    }
    scene.validating().replace(&scene.namespace, &PostParams::default(), &validating).await.unwrap();
}

async fn says(replica: &Replica, expected: &str) {
    eventually("it says so", async || {
        let why = replica.unmet(Condition::Certificate);
        if why.contains(expected) { Ok(()) } else { Err(why) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_reloaded_by_content_and_a_broken_pair_keeps_the_old_one() {
    let mut scene = Scene::new("files").await;
    let directory = tempfile::tempdir().unwrap();
    scene.config.certificate.source = CertificateSource::Files(directory.path().to_owned());
    let replica = scene.replica("a");
    says(&replica, "tls.crt: No such file").await;
    let first = write(directory.path(), "files");
    says(&replica, "webhook first.test.sandgate.dev: its caBundle does not verify the certificate: it is empty").await;
    set_bundles(&scene, &first).await;
    replica.ready().await;
    assert!(scene.secret().await.is_none(), "nothing is written");
    assert!(scene.bundles_are(&first).await);
    replica.configurations_present(&[1.0, 1.0]).await;

    fs::write(directory.path().join("tls.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let second = write(directory.path(), "files");
    set_bundles(&scene, &(first.clone() + &second)).await;
    eventually("the new pair is served", async || replica.verifies(&second)).await;
    fs::write(directory.path().join("tls.crt"), "garbage").unwrap();
    fs::remove_file(directory.path().join("tls.key")).unwrap();
    let third = write(directory.path(), "files");
    says(&replica, "its caBundle does not verify the certificate").await;
    assert_eq!(replica.verifies(&third), Ok(()));
    set_bundles(&scene, &third).await;
    eventually("the match is seen", async || {
        let why = replica.unmet(Condition::Certificate);
        if why.is_empty() { Ok(()) } else { Err(why) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_see_the_configurations_a_sound_pair_will_do() {
    let mut scene = Scene::new("files-blind").await;
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "files-blind");
    scene.config.certificate.source = CertificateSource::Files(directory.path().to_owned());
    let path = tokio::task::spawn_blocking(|| {
        sandgate_testkit::api_server::ApiServer::shared().kubeconfig("nobody-in-particular", &[])
    });
    let nobody = client(&path.await.unwrap()).await;
    let replica = scene.replica_with("a", nobody, &rendering("1"));

    eventually("the certificate's condition is met", async || {
        let why = replica.unmet(Condition::Certificate);
        if why.is_empty() { Ok(()) } else { Err(why) }
    })
    .await;
    replica.configurations_present(&[]).await;
}
