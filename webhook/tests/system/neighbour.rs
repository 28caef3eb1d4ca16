//! Another mutating webhook, which the API server calls after ours, for the pods of one namespace.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use sandgate_testkit::pki::TestCa;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::stage::{RUNTIME, Space, eventually, plain};

/// What it does to a pod: a JSON patch.
pub(crate) type Change = fn(&Value) -> Value;

/// Starts one, and returns when the API server calls it.
pub(crate) fn join(space: &Space<'_>, reinvocation: &str, change: Change) {
    let ca = TestCa::new();
    let issued = ca.issue(&["127.0.0.1"]);
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(issued.chain, issued.key).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let listener = RUNTIME.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    RUNTIME.spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&calls), change));
    let configuration = json!({
        // The API server calls in the order of names.
        "metadata": {"name": format!("zz-{}", space.name)},
        "webhooks": [{
            "name": "neighbour.example.com",
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/"), "caBundle": STANDARD.encode(ca.root_pem())},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "reinvocationPolicy": reinvocation,
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    space.stage.post(path, &configuration).accepted();
    eventually("the neighbour is called", || {
        // Whether the pod gets in is the tests' own question.
        let answer = space.create("pods?dryRun=All", &plain("called"));
        if calls.load(Ordering::Relaxed) > 0 { Ok(()) } else { Err(answer.message().to_owned()) }
    });
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, calls: Arc<AtomicUsize>, change: Change) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, calls) = (acceptor.clone(), Arc::clone(&calls));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(async |request| {
                calls.fetch_add(1, Ordering::Relaxed);
                answer(request, change).await
            });
            let _closed =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, change: Change) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let patch = STANDARD.encode(change(&review["request"]["object"]).to_string());
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch},
    });
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Full::from(answer.to_string())).expect("a response with one header"))
}
