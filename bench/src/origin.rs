//! The origin, a process of its own: as little work as an origin can do, so that what is measured is the proxy.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::names;
use crate::protocol::Protocol;

/// The path of a small response; `/down/N` has N bytes, and `/up` takes what it is sent.
pub(crate) const SMALL: &str = "/small";
/// What the small response is: about as long as what an API answers.
pub(crate) const SMALL_BODY: [u8; 256] = [b'x'; 256];
const PIECE: usize = 64 * 1024;
static ZEROES: [u8; PIECE] = [0; PIECE];

type Answer = BoxBody<Bytes, Infallible>;

/// Serves names and both origins until the process ends. `directory` has the origin's certificate.
pub(crate) async fn serve(directory: &Path) -> anyhow::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(names::serve());
    for protocol in Protocol::ALL {
        let listener = TcpListener::bind((protocol.origin(), 443)).await.context("the origin's port")?;
        tasks.spawn(listen(protocol, listener, acceptor(directory, protocol)?));
    }
    say_ready();
    tasks.join_next().await.context("there are tasks")??
}

#[allow(clippy::print_stdout, reason = "who started it reads one line")]
fn say_ready() {
    println!("ready");
}

fn acceptor(directory: &Path, protocol: Protocol) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(directory.join("origin.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("origin.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn listen(protocol: Protocol, listener: TcpListener, acceptor: TlsAcceptor) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(protocol, stream, acceptor.clone()));
    }
}

/// A connection that breaks is the proxy's to explain, by what its client sees.
async fn connection(protocol: Protocol, stream: TcpStream, acceptor: TlsAcceptor) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let stream = TokioIo::new(stream);
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    let _ = match protocol {
        Protocol::Http1 => http1::Builder::new().serve_connection(stream, service).await,
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(1 << 20).initial_connection_window_size(16 << 20);
            builder.max_concurrent_streams(1000);
            builder.serve_connection(stream, service).await
        }
    };
}

async fn answer(request: Request<Incoming>) -> Response<Answer> {
    let path = request.uri().path();
    if request.method() == Method::PUT {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        return Response::new(Full::default().boxed());
    }
    if let Some(length) = path.strip_prefix("/down/").and_then(|length| length.parse().ok()) {
        return Response::new(Zeroes { left: length }.boxed());
    }
    Response::new(Full::new(Bytes::from_static(&SMALL_BODY)).boxed())
}

/// So many bytes, of which none is made or copied.
pub(crate) struct Zeroes {
    /// Bytes that are still to come.
    pub(crate) left: u64,
}

impl Body for Zeroes {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.min(PIECE as u64);
        self.left -= next;
        let piece = usize::try_from(next).map_or(&ZEROES[..], |next| &ZEROES[..next]);
        Poll::Ready((next > 0).then(|| Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
