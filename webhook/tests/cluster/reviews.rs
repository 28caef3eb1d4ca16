//! A real API server that calls through the configurations while the CA is rotated and the replica is replaced.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::scene::{Replica, Scene, eventually, from};

/// Allows every review that comes over TLS with what the replica serves; the port, and how many came.
async fn allow_all(replica: &Replica) -> (u16, Arc<AtomicUsize>) {
    let resolver: Arc<dyn ResolvesServerCert> = replica.cluster.certificate.clone();
    let config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let reviews = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reviews);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(async |request| allow(request, &count).await);
                // One review a connection, so that each has a handshake with what is served and trusted then.
                let mut http = hyper::server::conn::http1::Builder::new();
                http.keep_alive(false);
                let _closed = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, reviews)
}

async fn allow(request: Request<Incoming>, count: &AtomicUsize) -> Result<Response<Full<Bytes>>, Infallible> {
    count.fetch_add(1, Ordering::Relaxed);
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    });
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Full::from(answer.to_string())).expect("a response with one header"))
}

/// Has the API server ask for every ConfigMap of the scene with the label `asked`, at a port of loopback.
async fn ask_for_config_maps(scene: &Scene, port: u16) {
    let service = json!({
        "metadata": {"name": "sandgate-webhook"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    });
    let services: Api<Service> = Api::namespaced(scene.client.clone(), &scene.namespace);
    services.create(&PostParams::default(), &from(service)).await.unwrap();
    let entry = json!({
        "name": "first.test.sandgate.dev",
        "clientConfig": {"service": {"name": "sandgate-webhook", "namespace": scene.namespace, "port": port}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}},
        "objectSelector": {"matchLabels": {"asked": "yes"}},
        "failurePolicy": "Fail",
    });
    let patch = Patch::Strategic(json!({"webhooks": [entry]}));
    scene.mutating().patch(&scene.configurations, &PatchParams::default(), &patch).await.unwrap();
}

async fn ask(scene: &Scene) -> Result<(), String> {
    let object: ConfigMap = from(json!({"metadata": {"generateName": "asked-", "labels": {"asked": "yes"}}}));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    scene.config_maps().create(&dry, &object).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_review_is_lost_while_the_ca_is_rotated() {
    let mut scene = Scene::new("reviews").await;
    let certificate = &mut scene.config.certificate;
    certificate.ca_lifetime = Duration::from_secs(3600);
    certificate.rotate_before = certificate.ca_lifetime - Duration::from_secs(2);
    certificate.trust_delay = Duration::from_secs(2);
    let replica = scene.replica("a");
    replica.ready().await;
    let old = scene.secret_text("ca.crt").await;
    let (port, reviews) = allow_all(&replica).await;
    ask_for_config_maps(&scene, port).await;
    eventually("the API server calls", async || {
        ask(&scene).await?;
        if reviews.load(Ordering::Relaxed) > 0 { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
    let lost = std::sync::Mutex::new(Vec::new());
    eventually("the old CA is gone and the new one was used", async || {
        if let Err(error) = ask(&scene).await {
            lost.lock().unwrap().push(error);
        }
        let bundles = scene.bundles().await;
        if bundles.iter().all(|(_, bundle)| !bundle.contains(&old)) { ask(&scene).await } else { Err("no".to_owned()) }
    })
    .await;
    assert_eq!(lost.into_inner().unwrap(), Vec::<String>::new());
    assert!(reviews.load(Ordering::Relaxed) > 20, "each attempt was a review: {reviews:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_passes_again_within_seconds_after_a_bundle_was_emptied() {
    let scene = Scene::new("emptied").await;
    let replica = scene.replica("a");
    replica.ready().await;
    let (port, _reviews) = allow_all(&replica).await;
    ask_for_config_maps(&scene, port).await;
    eventually("the API server calls", async || ask(&scene).await).await;
    scene.set_bundle("first", "").await;
    // It is due within 2 s; the rest is for a busy machine.
    crate::scene::within(Duration::from_secs(5), "it calls again", async || ask(&scene).await).await;
}
