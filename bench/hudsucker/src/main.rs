//! hudsucker as a forward proxy that intercepts `*.bench.test` and refuses everything else, in a directory with ca.pem,
//! ca.key and origin-ca.pem: `bench-hudsucker PORT WORKERS`. It logs and counts nothing, and SIGTERM ends it at once.

#![forbid(unsafe_code)]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::hyper::{Request, Response, StatusCode};
use hudsucker::hyper_util::client::legacy::connect::HttpConnector;
use hudsucker::rcgen::{Issuer, KeyPair};
use hudsucker::rustls::pki_types::CertificateDer;
use hudsucker::rustls::pki_types::pem::PemObject as _;
use hudsucker::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use hudsucker::{Body, HttpContext, HttpHandler, Proxy, RequestOrResponse};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use tokio::net::{TcpListener, TcpSocket};

// Sandgate's allocator, on request: hudsucker leaves it to its program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Certificates kept.
const LEAVES: u64 = 10_000;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, workers] = arguments.as_slice() else { return Err("usage: bench-hudsucker PORT WORKERS".into()) };
    let (port, workers) = (port.parse()?, workers.parse()?);
    let mut runtime = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.worker_threads(workers).enable_all().build()?.block_on(serve(port))
}

async fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let issuer = Issuer::from_ca_cert_pem(
        &std::fs::read_to_string("ca.pem")?,
        KeyPair::from_pem(&std::fs::read_to_string("ca.key")?)?,
    )?;
    let proxy = Proxy::builder()
        .with_listener(listen(port)?)
        .with_ca(RcgenAuthority::new(issuer, LEAVES, aws_lc_rs::default_provider()))
        .with_http_connector(connector()?)
        .with_http_handler(Bench)
        .build()?;
    Ok(proxy.start().await?)
}

/// Accepted connections have the listener's TCP_NODELAY (tcp(7)): hudsucker accepts them itself.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

/// hudsucker's `with_rustls_connector` with other roots, TLS alone, and TCP_NODELAY.
fn connector() -> Result<HttpsConnector<HttpConnector>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter("origin-ca.pem")? {
        roots.add(root?)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().enable_http2().wrap_connector(tcp))
}

/// Sees each CONNECT and each request inside a tunnel.
#[derive(Clone)]
struct Bench;

impl HttpHandler for Bench {
    async fn handle_request(&mut self, _context: &HttpContext, request: Request<Body>) -> RequestOrResponse {
        let uri = request.uri();
        if uri.host().is_some_and(|host| host.ends_with(".bench.test")) && matches!(uri.port_u16(), None | Some(443)) {
            return request.into();
        }
        let mut refusal = Response::new(Body::empty());
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        refusal.into()
    }
}
