//! What follows a CONNECT: the first byte says which of the protocols it is that the policy allows there. Anything else is
//! closed, and never becomes a raw tunnel.

use std::sync::Arc;

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sandgate_policy::destination::{Destination, Scheme};
use sandgate_policy::{ConnectVerdict, Mode, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::audit::{Kind, Record, Verdict};
use crate::engine::Engine;
use crate::metrics::TunnelKind;
use crate::pace::Paced;
use crate::proxy::Client;
use crate::refusal::{Code, Refusal};
use crate::rewind::Rewind;
use crate::upstream::Failure;
use crate::{intercept, passthrough};

/// The first byte of a TLS handshake record (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// What is read at first; a ClientHello mostly fits.
const FIRST_READ: usize = 1024;

/// A tunnel's stream: the socket, before it what was already read of it.
pub type Stream = Rewind<TcpStream>;

/// Serves a tunnel to its end.
pub async fn serve(engine: Arc<Engine>, client: Arc<Client>, destination: Destination, upgraded: Upgraded) {
    let Some((mut stream, mut first)) = taken_over(upgraded) else {
        tracing::error!("a tunnel is not a TCP stream");
        return;
    };
    let read = timeout(engine.settings.handshake_timeout, first_bytes(&mut stream, &mut first)).await;
    let failure = match read {
        // Nobody loses anything when an unused tunnel ends.
        Ok(Ok(0)) => return,
        Ok(Ok(_)) => choose(&engine, &client, destination.clone(), first, stream).await.err(),
        Ok(Err(_)) => return,
        Err(_) => Some(Code::ClientTimeout.into()),
    };
    if let Some(failure) = failure {
        refuse(&engine, &client, &destination, &failure);
    }
}

/// The socket, and what was read of it behind the CONNECT. What a tunnel does not need is dropped here: it would live as
/// long as the tunnel, the buffer of the CONNECT's head for one.
fn taken_over(upgraded: Upgraded) -> Option<(TcpStream, BytesMut)> {
    let parts = upgraded.downcast::<TokioIo<Paced<TcpStream>>>().ok()?;
    let (stream, ahead) = parts.io.into_inner().into_parts();
    let mut first = BytesMut::from(&parts.read_buf[..]);
    first.unsplit(ahead);
    Some((stream, first))
}

/// How many bytes are there; reads some where there are none.
async fn first_bytes(stream: &mut TcpStream, first: &mut BytesMut) -> std::io::Result<usize> {
    if first.is_empty() {
        first.reserve(FIRST_READ);
        stream.read_buf(first).await?;
    }
    Ok(first.len())
}

async fn choose(
    engine: &Arc<Engine>,
    client: &Arc<Client>,
    mut destination: Destination,
    first: BytesMut,
    stream: TcpStream,
) -> Result<(), Failure> {
    let snapshot = engine.enforcement.current();
    let verdict = snapshot.policy.judge_connect(&destination.host, destination.port);
    let ConnectVerdict { outcome, https, http } = verdict;
    if outcome.denied().is_some() {
        return Err(Code::PolicyChanged.into());
    }
    // Also where the host is listed, but for the other protocol: what comes in the tunnel is judged, and let through.
    let audited = snapshot.policy.mode() == Mode::Audit;
    if first[0] == TLS_HANDSHAKE {
        return match https.as_deref().map(|rule| rule.tls) {
            Some(Tls::Passthrough { ech }) => {
                let _open = engine.metrics.tunnel(TunnelKind::Passthrough);
                Box::pin(passthrough::serve(engine, client, &destination, ech, first, stream)).await
            }
            None if !audited => Err(Code::UnknownProtocol.into()),
            Some(Tls::Intercept) | None => {
                drop(snapshot);
                Ok(intercept::tls(engine, client, destination, Rewind::new(first, stream)).await?)
            }
        };
    }
    if (http.is_some() || audited) && first[0].is_ascii_alphabetic() {
        destination.scheme = Scheme::Http;
        Box::pin(intercept::plain(engine, client, destination, Rewind::new(first, stream))).await;
        return Ok(());
    }
    close(stream).await;
    Err(Code::UnknownProtocol.into())
}

async fn close(mut stream: TcpStream) {
    // The client learns of it either way.
    let _ = stream.shutdown().await;
}

/// Writes why a tunnel ended before a request could be judged in it.
fn refuse(engine: &Engine, client: &Client, destination: &Destination, failure: &Failure) {
    // A failure on the way to the origin of a passthrough is no verdict, as it is none of an intercepted request.
    let failed = failure.code.status().is_server_error() || failure.code == Code::UpstreamProxyDenied;
    let verdict = if failed { Verdict::Allowed } else { Verdict::Denied };
    let mut line = Record::new(Kind::TunnelEnd, client.connection, verdict).to(destination);
    line.scheme = line.scheme.filter(|_| failed);
    line.message = Refusal::new(failure.code, destination).with_detail(&failure.detail).of_the_way();
    let snapshot = engine.enforcement.current();
    let verdict = snapshot.policy.judge_connect(&destination.host, destination.port);
    let rule = verdict.https.or(verdict.http);
    line.addition = failure.addition(&snapshot.policy, destination, rule.as_deref()).map(Arc::new);
    line.rule = rule.map(|rule| Arc::clone(&rule.id));
    line.code = Some(failure.code);
    // No response fits into what was no request.
    line.status = Some(failure.code.status());
    if !failed {
        engine.metrics.decided(line.verdict, line.code);
    }
    engine.audit.record(line);
}
