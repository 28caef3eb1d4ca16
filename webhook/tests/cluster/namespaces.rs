//! Namespaces: known by the watch, or asked for once within a second.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use prometheus::Registry;
use sandgate_testkit::api_server::ApiServer;
use sandgate_webhook::cluster::client_of;
use sandgate_webhook::cluster::vitals::Vitals;
use sandgate_webhook::health::Health;
use sandgate_webhook::namespaces::{Namespaces, NotKnown};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::scene::{Scene, admin, client, eventually};

fn vitals() -> (Registry, Vitals) {
    let registry = Registry::new();
    let vitals = Vitals::new(&registry).unwrap();
    (registry, vitals)
}

fn fetches(registry: &Registry) -> f64 {
    let families = registry.gather();
    let fetches = families.iter().find(|family| family.name() == "sandgate_webhook_namespace_fetches_total").unwrap();
    fetches.get_metric()[0].get_counter().get_value()
}

async fn annotate(name: &str, annotations: BTreeMap<&str, Option<&str>>) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    let namespaces: Api<Namespace> = Api::all(admin().await);
    namespaces.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_namespace_is_fetched_once_for_many_callers_and_then_known() {
    let scene = Scene::bare("joined").await;
    annotate("joined", BTreeMap::from([("sandgate.dev/policy", Some("strict"))])).await;
    let (registry, vitals) = vitals();
    // It is never told to watch.
    let namespaces = Namespaces::new(scene.client, vitals);
    let mut callers = JoinSet::new();
    for _ in 0..200 {
        let namespaces = namespaces.clone();
        callers.spawn(async move { namespaces.get("joined").await.unwrap().policy.clone() });
    }
    while let Some(policy) = callers.join_next().await {
        assert_eq!(policy.unwrap().as_deref(), Some("strict"));
    }
    namespaces.get("joined").await.unwrap();
    assert_eq!(fetches(&registry), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_takes_nobody_along() {
    let scene = Scene::bare("gives-up").await;
    let namespaces = Namespaces::new(scene.client, vitals().1);
    let mut first = Box::pin(namespaces.get("gives-up"));
    // Polled once, so that the fetch runs, then dropped.
    assert!(poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending())).await);
    drop(first);
    assert_eq!(namespaces.get("gives-up").await.unwrap().name, "gives-up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_does_not_exist_is_asked_for_each_time() {
    let (registry, vitals) = vitals();
    let namespaces = Namespaces::new(admin().await, vitals);
    for _ in 0..2 {
        assert_eq!(namespaces.get("not-there").await, Err(NotKnown::Missing("not-there".to_owned())));
    }
    assert_eq!(fetches(&registry), 2.0);
    for odd in ["", "../secrets", "a/b", "Upper"] {
        assert_eq!(namespaces.get(odd).await, Err(NotKnown::NoName(odd.to_owned())));
    }
    assert_eq!(fetches(&registry), 2.0, "what is no name is not asked for");
}

/// With a clock that only goes on while everything waits, so that no busy machine is in what is measured.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_costs_a_second_and_no_more_than_64_calls() {
    // It accepts connections and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = client_of(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let (registry, vitals) = vitals();
    let namespaces = Namespaces::new(client, vitals);
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..100 {
        let namespaces = namespaces.clone();
        callers.spawn(async move { namespaces.get(&format!("n{number}")).await.unwrap_err() });
    }
    let (mut late, mut busy) = (0, 0);
    while let Some(error) = callers.join_next().await {
        let error = error.unwrap();
        assert!(error.to_string().contains("try again"), "{error}");
        match error {
            NotKnown::TooLate(_) => late += 1,
            NotKnown::Busy(_) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((late, busy, fetches(&registry)), (64, 36, 64.0));
    let took = start.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_millis(1100)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_while_the_namespaces_were_not_listed() {
    let nobody = client(&ApiServer::shared().kubeconfig("nobody-in-particular", &[])).await;
    let health = Arc::new(Health::default());
    let watch = tokio::spawn(Namespaces::new(nobody, vitals().1).run(health.clone()));
    eventually("the right is named", async || {
        let unmet = health.unmet().join("\n");
        let named =
            r#"the namespaces can't be listed: namespaces is forbidden: User "nobody-in-particular" cannot list"#;
        if unmet.contains(named) && !unmet.contains("Status {") { Ok(()) } else { Err(unmet) }
    })
    .await;
    watch.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_are_seen_through_the_watch_and_other_ones_are_not_kept() {
    let scene = Scene::new("watched").await;
    let replica = scene.replica("a");
    replica.ready().await;
    let namespaces = &replica.cluster.namespaces;
    assert!(namespaces.len() >= 4, "those of every cluster are there: {}", namespaces.len());
    let policy = async || namespaces.get("watched").await.unwrap().policy.clone();
    assert_eq!(policy().await, None);
    for policy_name in [Some("one"), Some("two"), None] {
        annotate("watched", BTreeMap::from([("sandgate.dev/policy", policy_name), ("other", Some("x"))])).await;
        eventually("the annotation is seen", async || {
            let found = policy().await;
            if found.as_deref() == policy_name { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    assert_eq!(replica.metric("sandgate_webhook_namespace_fetches_total"), 0.0);
    assert!(replica.metric("sandgate_webhook_watch_up") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_is_forgotten() {
    let scene = Scene::new("forgotten").await;
    let replica = scene.replica("a");
    replica.ready().await;
    let other = Scene::bare("forgotten-other").await;
    eventually("it is known by the watch", async || {
        if replica.cluster.namespaces.len() >= 5 { Ok(()) } else { Err("too few".to_owned()) }
    })
    .await;
    assert_eq!(replica.cluster.namespaces.get("forgotten-other").await.unwrap().name, "forgotten-other");
    finalize(&other).await;
    eventually("it is gone", async || match replica.cluster.namespaces.get("forgotten-other").await {
        Err(NotKnown::Missing(_)) => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
}

/// Deletes a namespace as its controller would, which does not run here.
async fn finalize(scene: &Scene) {
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
    let mut namespace = namespaces.get(&scene.namespace).await.unwrap();
    namespace.spec.as_mut().unwrap().finalizers = None;
    namespaces.replace_subresource("finalize", &scene.namespace, &Default::default(), &namespace).await.unwrap();
}
