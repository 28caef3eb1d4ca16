//! Three paths in memory, without sockets and TLS, for whoever counts instructions: `instructions PATH COUNT` takes a path so
//! often. `bench/instructions` counts twice and divides the difference, so that what comes before does not count.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{bail, ensure};
use sandgate_policy::destination::{Destination, Host, Scheme};
use sandgate_sidecar::ahead::Socket;
use sandgate_sidecar::cli::{self, Action};
use sandgate_sidecar::engine::Engine;
use sandgate_sidecar::proxy::{self, Client};
use sandgate_sidecar::serve;
use sandgate_sidecar::upstream::Peer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::sync::Semaphore;

use crate::verdict::Subject;

/// Rules of the large policy.
const RULES: usize = 10_000;
const PIPE: usize = 64 * 1024;
const HOST: &str = "origin.test";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!";

/// Takes a path so often.
pub(crate) async fn run(path: &str, count: usize) -> anyhow::Result<()> {
    match path {
        "verdict" => {
            let subject = Subject::new(RULES)?;
            let mut verdicts = 0;
            while verdicts < count {
                verdicts += subject.judge();
            }
            Ok(())
        }
        "connect" => {
            let refused = b"CONNECT refused.test:443 HTTP/1.1\r\nHost: refused.test:443\r\nUser-Agent: bench\r\n\r\n";
            exchange(&engine()?, refused, 403, count).await
        }
        "request" => {
            let engine = engine()?;
            origin(&engine).await?;
            let request =
                format!("GET http://{HOST}/path HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n");
            exchange(&engine, request.as_bytes(), 200, count).await
        }
        _ => bail!("paths are verdict, connect and request"),
    }
}

/// A whole sidecar but for its listeners.
fn engine() -> anyhow::Result<Arc<Engine>> {
    let directory = tempfile::tempdir()?;
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, format!("version: 1\ndestinations:\n- {{id: origin, host: {HOST}, scheme: http}}\n"))?;
    let mut line: Vec<OsString> = ["sandgate-sidecar", "serve", "--no-env", "--ca", "generate"].map(Into::into).into();
    line.extend(["--dns", "127.0.0.1", "--audit-log", "none", "--trust-dir"].map(OsString::from));
    line.extend([directory.path().into(), "--policy".into(), policy.into()]);
    let Ok(Action::Serve(settings)) = cli::parse(line, &[]) else { bail!("the settings are wrong") };
    serve::engine(*settings)
}

/// An origin that answers every read with the same bytes, at the other end of a connection that the pool has.
async fn origin(engine: &Arc<Engine>) -> anyhow::Result<()> {
    let (near, mut far) = duplex(PIPE);
    let destination = Destination { host: Host::parse(HOST)?, port: 80, scheme: Scheme::Http };
    let profile = engine.enforcement.current().profile(Some("origin"));
    let peer = Peer::origin(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)));
    if let Err(failure) = engine.upstream.keep(&destination, &profile, near, peer).await {
        bail!("the origin: {}", failure.detail);
    }
    tokio::spawn(async move {
        let mut buffer = vec![0; PIPE];
        while far.read(&mut buffer).await.is_ok_and(|read| read > 0) && far.write_all(RESPONSE).await.is_ok() {}
    });
    Ok(())
}

/// Sends the same bytes again and again on one connection, each time after the answer to the last.
async fn exchange(engine: &Arc<Engine>, request: &[u8], status: u16, count: usize) -> anyhow::Result<()> {
    let place = Arc::new(Semaphore::new(1)).acquire_owned().await?;
    let (mut near, far) = duplex(PIPE);
    let client = Arc::new(Client::new(engine, place));
    tokio::spawn(proxy::speak(Arc::clone(engine), Pipe(far), client));
    let (mut buffer, begins) = (vec![0; PIPE], format!("HTTP/1.1 {status} "));
    for _ in 0..count {
        near.write_all(request).await?;
        let mut filled = near.read(&mut buffer).await?;
        ensure!(buffer[..filled].starts_with(begins.as_bytes()), "not answered with {status}");
        while !is_whole(&buffer[..filled])? {
            let read = near.read(&mut buffer[filled..]).await?;
            ensure!(read > 0, "the connection ended");
            filled += read;
        }
    }
    Ok(())
}

fn is_whole(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(false) };
    let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Ok(0), |field| std::str::from_utf8(field.value).unwrap_or_default().parse())?;
    Ok(bytes.len() >= head + length)
}

/// One end of a pipe in memory, as a client's socket.
struct Pipe(DuplexStream);

impl Socket for Pipe {
    fn is_broken(&self) -> bool {
        false
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
