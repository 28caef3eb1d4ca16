//! The rotation of the CA, with what is served held against every live caBundle from start to end.

use std::time::Duration;

use crate::scene::{Replica, Scene, eventually};

/// A CA that is due two seconds after it was made.
fn hurried(scene: &mut Scene) {
    let certificate = &mut scene.config.certificate;
    certificate.ca_lifetime = Duration::from_secs(3600);
    certificate.rotate_before = certificate.ca_lifetime - Duration::from_secs(2);
    // Heartbeats every second, and six of them may be missed: enough for a busy machine.
    certificate.trust_delay = Duration::from_secs(2);
}

fn certificates(bundle: &str) -> Vec<&str> {
    bundle.split_inclusive("-----END CERTIFICATE-----\n").collect()
}

/// What is served verifies with each caBundle as it was just before, which is what an API server may still have.
async fn holds(scene: &Scene, replicas: &[Replica]) -> Vec<String> {
    let before = scene.bundles().await;
    for (_, bundle) in &before {
        for replica in replicas {
            assert_eq!(replica.verifies(bundle), Ok(()), "in the middle of a rotation");
        }
    }
    before.into_iter().map(|(_, bundle)| bundle).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_through_its_stages_and_cuts_nobody_off() {
    let mut scene = Scene::new("rotation").await;
    hurried(&mut scene);
    let replicas = [scene.replica("a"), scene.replica("b")];
    for replica in &replicas {
        replica.ready().await;
    }
    let old = scene.secret_text("ca.crt").await;
    let seen = std::sync::Mutex::new(Vec::<&str>::new());
    let stage = |name| {
        let mut seen = seen.lock().unwrap();
        if seen.last() != Some(&name) {
            seen.push(name);
        }
    };
    eventually("the old CA is gone", async || {
        let bundles = holds(&scene, &replicas).await;
        let old_served = replicas.iter().any(|replica| replica.verifies(&old).is_ok());
        let all = |test: &dyn Fn(&str) -> bool| bundles.iter().all(|bundle| test(bundle));
        match old_served {
            true if all(&|bundle| bundle == old) => stage("the old one"),
            true if all(&|bundle| certificates(bundle).len() == 2) => stage("both trusted, the old one serves"),
            false if all(&|bundle| bundle.contains(&old)) => stage("both trusted, the new one serves"),
            false if all(&|bundle| !bundle.contains(&old)) => return Ok(()),
            _ => {}
        }
        Err(format!("seen: {:?}", seen.lock().unwrap()))
    })
    .await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, ["the old one", "both trusted, the old one serves", "both trusted, the new one serves"]);
    assert!(!scene.secret_text("previous.crt").await.contains(&old));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_die_in_the_middle_of_a_rotation_leave_one_that_others_finish() {
    let mut scene = Scene::new("crash").await;
    hurried(&mut scene);
    let mut replica = scene.replica("a");
    replica.ready().await;
    let old = scene.secret_text("ca.crt").await;
    for (number, key) in ["next.crt", "previous.crt"].into_iter().enumerate() {
        eventually("the next stage begins", async || {
            let text = scene.secret_text(key).await;
            if text.is_empty() { Err(format!("no {key}")) } else { Ok(()) }
        })
        .await;
        // Every task of the old one ends here, wherever it is.
        drop(replica);
        replica = scene.replica(&format!("a{number}"));
        replica.ready().await;
    }
    eventually("the old CA is gone", async || {
        let bundles = scene.bundles().await;
        if bundles.iter().any(|(_, bundle)| bundle.contains(&old)) { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_ca_stays_as_long_as_a_replica_says_that_it_serves_it() {
    let mut scene = Scene::new("straggler").await;
    hurried(&mut scene);
    let replica = scene.replica("a");
    replica.ready().await;
    let old = scene.secret_text("ca.crt").await;
    let served = eventually("the new CA signs", async || {
        let previous = scene.secret_text("previous.crt").await;
        if previous == old { Ok(scene.secret().await.unwrap()) } else { Err("not yet".to_owned()) }
    })
    .await;
    // A straggler's word, which is never renewed: it counts for six heartbeats, which are 6 s here.
    let word = r#"{"straggler": {"ca": "0000", "at": "2999-01-01T00:00:00Z"}}"#;
    let patch = serde_json::json!({"metadata": {"annotations": {"sandgate.dev/serving": word}}});
    let patch = kube::api::Patch::Merge(patch);
    let start = std::time::Instant::now();
    scene.secrets().patch(&served.metadata.name.unwrap(), &Default::default(), &patch).await.unwrap();
    eventually("the old CA is gone", async || {
        let previous = scene.secret_text("previous.crt").await;
        if previous.contains(&old) { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
    assert!(start.elapsed() >= Duration::from_secs(6), "{:?}", start.elapsed());
}
