//! The program over real sockets with real TLS: each module a part of its behaviour, each test a sentence of it.

mod admin;
mod advice;
mod audit;
mod authority;
mod beside;
mod certificates;
mod combinations;
mod connect;
mod early;
mod fields;
mod gone;
mod grpc;
mod harness;
mod hidden;
mod hours;
mod http2;
mod learn;
mod many;
mod memory;
mod names;
mod passthrough;
mod plain;
mod policy;
mod pool;
mod process;
mod rotation;
mod run;
mod run_upstream;
mod smuggling;
mod state;
mod streaming;
mod tunnel;
mod two_minutes;
mod upstream_proxy;
mod upstream_proxy_failures;
mod upstream_proxy_names;
mod verification;
mod waiting;
mod websocket;

use harness::{Setup, allow, resolve};
use sandgate_testkit::client::https_through;
use sandgate_testkit::origin::Origin;

#[tokio::test]
async fn an_allowed_request_reaches_its_origin_and_comes_back() {
    let origin = Origin::builder().names(&["origin.test"]).start().await;
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let mut client =
        https_through(setup.sidecar.proxy(), "origin.test", origin.port(), &setup.client_tls()).await.unwrap();
    let fetched = client.get(&format!("https://origin.test:{}/zen", origin.port())).await.unwrap();
    assert_eq!(fetched.status, 200);
    assert_eq!(origin.request_count(), 1);
}
