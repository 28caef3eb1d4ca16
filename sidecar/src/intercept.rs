//! The inside of a tunnel: TLS towards the client with a leaf for the CONNECT's host, and the HTTP in it. Every request goes
//! to `forward`.
//!
//! A handshake that fails ends the tunnel. It never becomes a passthrough.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ProtocolVersion;
use sandgate_policy::destination::Destination;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ahead::Socket;
use crate::body::ResponseBody;
use crate::engine::{Engine, Inbound};
use crate::forward::forward;
use crate::held::Held;
use crate::leaf;
use crate::metrics::TunnelKind;
use crate::pace::Paced;
use crate::proxy::{Client, http1_server};
use crate::refusal::Code;
use crate::settings::Settings;
use crate::tunnel::Stream;
use crate::upstream::tls::ALPN_H2;

/// What a client may have in flight on one stream. It is in the same pod, so round trips are short; but each half of it is a
/// WINDOW_UPDATE, and with a quarter of it these were a sixth of an upload's processor time.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What a client may have in flight on all streams together: seven stalled uploads leave room for the next.
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;
/// What one stream may have buffered towards the client: the largest frame that it must take. A client may have two
/// hundred streams and read none of them.
const SEND_BUFFER: usize = 16 * 1024;

/// Serves a tunnel whose first bytes are TLS.
///
/// # Errors
/// The code of a handshake that failed, or for which there is no certificate.
pub async fn tls(
    engine: &Arc<Engine>,
    client: &Arc<Client>,
    destination: Destination,
    stream: Stream,
) -> Result<(), Code> {
    let config = engine.leaves.server_config(&destination.host).map_err(|error| {
        tracing::error!(%error, host = %destination.host, "no certificate");
        Code::NoCertificate
    })?;
    // Each phase is boxed: a tunnel is idle for most of its life, and would carry the state of its handshake to the end.
    let served = {
        let handshake = Box::pin(handshake(TlsAcceptor::from(config), stream));
        let stream = match timeout(engine.settings.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if leaf::is_sni_mismatch(&error) => return Err(Code::SniMismatch),
            Ok(Err(error)) => {
                tracing::debug!(%error, host = %destination.host, "the client's TLS handshake failed");
                return Err(Code::ClientTls);
            }
            Err(_) => return Err(Code::ClientTimeout),
        };
        http(engine, client, destination, stream)
    };
    let _open = engine.metrics.tunnel(TunnelKind::Intercepted);
    served.await;
    Ok(())
}

/// Shakes hands. What the client need not wait for is sent with the first response.
async fn handshake(acceptor: TlsAcceptor, stream: Stream) -> io::Result<TlsStream<Held<Stream>>> {
    match acceptor.accept(Held::new(stream)).into_fallible().await {
        Ok(mut stream) => {
            let (held, tls) = stream.get_mut();
            if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
                // It ends with our Finished (RFC 5246 7.3).
                poll_fn(|context| Pin::new(&mut *held).poll_release(context)).await?;
            }
            held.end_handshake();
            Ok(stream)
        }
        Err((error, mut held)) => {
            // The alert says why; the client may be gone.
            let _ = poll_fn(|context| Pin::new(&mut held).poll_release(context)).await;
            Err(error)
        }
    }
}

/// Serves the HTTP that the handshake chose.
fn http<'a>(
    engine: &'a Arc<Engine>,
    client: &'a Arc<Client>,
    destination: Destination,
    stream: TlsStream<Held<Stream>>,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) {
        Box::pin(http2(engine, client, destination, stream))
    } else {
        Box::pin(http1(engine, client, destination, stream))
    }
}

/// Serves a tunnel whose first bytes are plain HTTP.
pub async fn plain(engine: &Arc<Engine>, client: &Arc<Client>, destination: Destination, stream: Stream) {
    let _open = engine.metrics.tunnel(TunnelKind::PlainHttp);
    http1(engine, client, destination, stream).await;
}

/// The connection is made here and boxed, for a future has each of its arguments twice once they have moved on.
fn http1<'a, S>(
    engine: &'a Arc<Engine>,
    client: &'a Arc<Client>,
    destination: Destination,
    stream: S,
) -> impl Future<Output = ()> + Send + 'a
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
{
    let stream = Paced::new(stream, &client.link, &engine.settings).watched();
    let builder = http1_server(&engine.settings, &stream, engine.settings.inner_head_timeout);
    let service = service_fn(move |request| answer(engine, client, &destination, request));
    let served = Box::pin(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    async move {
        if let Some(served) = client.link.while_whole(served).await {
            ended(client.connection, served);
        }
    }
}

/// As [`http1`].
fn http2<'a, S>(
    engine: &'a Arc<Engine>,
    client: &'a Arc<Client>,
    destination: Destination,
    stream: S,
) -> impl Future<Output = ()> + Send + 'a
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
{
    let (first, idle) = (engine.settings.inner_head_timeout, engine.settings.client_idle_timeout);
    let stream = Paced::new(stream, &client.link, &engine.settings);
    let builder = http2_server(&engine.settings);
    let service = {
        // Each stream is a task of its own, so what it needs is its own too.
        let (engine, client) = (Arc::clone(engine), Arc::clone(client));
        service_fn(move |request| answer(&engine, &client, &destination, request))
    };
    let served = Box::pin(builder.serve_connection(TokioIo::new(stream), service));
    async move {
        tokio::select! {
            served = client.link.while_whole(served) => ended(client.connection, served.unwrap_or(Ok(()))),
            // hyper has no bound for a client that says nothing after its handshake, or nothing more.
            () = client.link.unused(first, idle) => {}
        }
    }
}

fn answer(
    engine: &Arc<Engine>,
    client: &Arc<Client>,
    destination: &Destination,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let inbound =
        Inbound { connection: client.connection, link: Arc::clone(&client.link), tunnel: Some(destination.clone()) };
    // Boxed: hyper keeps the room for it while a connection is idle.
    let response = Box::pin(forward(Arc::clone(engine), inbound, request));
    async move { Ok(response.await) }
}

/// Extended CONNECT (RFC 8441) is not enabled: a WebSocket over HTTP/2 is refused by its stream.
fn http2_server(settings: &Settings) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(settings.max_streams).unwrap_or(u32::MAX))
        .max_header_list_size(u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(settings.tcp_keepalive)
        .auto_date_header(false);
    builder
}

fn ended(connection: u64, served: hyper::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%error, connection, "a tunnel ended early");
    }
}
