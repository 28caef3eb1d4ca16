//! The testkit's tests of itself: an origin or a name server that is wrong would make the sidecar's tests worthless.

#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod api_server;
mod dns;
mod misbehaving;
mod origin;
mod protocols;
mod real_clients;
mod tls;

use std::time::Duration;

use sandgate_testkit::client::{Client, ClientTls};
use sandgate_testkit::origin::Origin;
use tokio::net::TcpStream;

/// Generous, because tests share their machine; what it bounds takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// A client of `origin` that offers one protocol.
async fn client(origin: &Origin, alpn: &str) -> Client {
    let tls = ClientTls::new(&origin.ca().root_pem()).alpn(&[alpn]);
    let stream = TcpStream::connect(origin.addr()).await.unwrap();
    Client::over_tls(tls.handshake("origin.test", stream).await.unwrap()).await.unwrap()
}

/// The absolute URI of a path at `origin`.
fn uri(origin: &Origin, path: &str) -> String {
    format!("https://origin.test:{}{path}", origin.port())
}
