//! The API server asked directly, for looking often and for creating fast: kubectl is a process for each question.

use std::sync::LazyLock;

use http::{Method, Request};
use kube::Client;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// All that waits for the network runs here.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime can be started"));

static CLIENT: OnceCell<Client> = OnceCell::const_new();

async fn client() -> &'static Client {
    let connect = || async { Client::try_default().await.expect("KUBECONFIG names a cluster that can be reached") };
    CLIENT.get_or_init(connect).await
}

/// What the API server said to a request that it did not grant.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status; 0 where there was no answer.
    pub code: u16,
    /// Its message.
    pub message: String,
}

/// What is at a path, such as `/api/v1/namespaces/default/pods/one`.
///
/// # Errors
/// What the API server said.
pub fn get(path: &str) -> Result<Value, Refusal> {
    RUNTIME.block_on(send(Method::GET, path, None))
}

/// Creates an object in the collection at a path.
///
/// # Errors
/// What the API server said.
pub async fn create(path: &str, object: &Value) -> Result<Value, Refusal> {
    send(Method::POST, path, Some(object)).await
}

/// Changes an object by a merge patch.
///
/// # Errors
/// What the API server said.
pub fn merge(path: &str, patch: &Value) -> Result<Value, Refusal> {
    RUNTIME.block_on(send(Method::PATCH, path, Some(patch)))
}

/// Deletes an object, without waiting for it to be gone.
///
/// # Errors
/// What the API server said.
pub fn delete(path: &str) -> Result<Value, Refusal> {
    RUNTIME.block_on(send(Method::DELETE, path, None))
}

async fn send(method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = body.map(|object| object.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let request = request.body(body).expect("the path of a request is one");
    client().await.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => Refusal { code: status.code, message: status.message.clone() },
        other => Refusal { code: 0, message: other.to_string() },
    })
}
