//! HTTP/1.1 and HTTP/2 over a given stream, on hyper's connections. One connection, no pool, no retry.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use super::body::{Body, bytes_body, empty_body};

/// A response that was read whole.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The trailer fields, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl Fetched {
    /// The body as text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is something else.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }
}

/// A client on one connection.
pub enum Client {
    /// HTTP/1.1. Requests need a `Host` field; the target is sent as the URI has it.
    Http1(http1::SendRequest<Body>),
    /// HTTP/1.1 to a proxy: targets are in absolute form.
    Http1Proxy(http1::SendRequest<Body>),
    /// HTTP/2. The URI is absolute: it fills the pseudo-header fields.
    Http2(http2::SendRequest<Body>),
}

impl Client {
    /// HTTP/1.1 over `stream`.
    ///
    /// # Errors
    /// Where the connection ends at once.
    pub async fn http1<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Ok(Self::Http1(http1_sender(stream).await?))
    }

    /// HTTP/1.1 over `stream`, which ends at a proxy.
    ///
    /// # Errors
    /// Where the connection ends at once.
    pub async fn http1_proxy<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Ok(Self::Http1Proxy(http1_sender(stream).await?))
    }

    /// HTTP/2 over `stream`.
    ///
    /// # Errors
    /// Where the connection ends at once.
    pub async fn http2<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async { drop(connection.await) });
        Ok(Self::Http2(sender))
    }

    /// The protocol that ALPN chose; HTTP/1.1 where it chose none.
    ///
    /// # Errors
    /// Where the connection ends at once.
    pub async fn over_tls<S>(stream: TlsStream<S>) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Self::http2(stream).await
        } else {
            Self::http1(stream).await
        }
    }

    /// Whether this speaks HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Sends a request as it is and returns when the head of the response is there.
    ///
    /// # Errors
    /// Where the connection or the stream ends before that.
    pub async fn send(&mut self, request: Request<Body>) -> io::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) | Self::Http1Proxy(sender) => {
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(request).await.map_err(io::Error::other)
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(request).await.map_err(io::Error::other)
            }
        }
    }

    /// Sends a request with an absolute URI in the form that the protocol needs (RFC 9112 3.2.1) and reads the whole
    /// response.
    ///
    /// # Errors
    /// Where the exchange breaks off.
    ///
    /// # Panics
    /// Where the URI is not absolute.
    pub async fn fetch(&mut self, request: Request<Body>) -> io::Result<Fetched> {
        read(self.open(request).await?).await
    }

    /// As [`Client::fetch`], but returns when the head of the response is there.
    ///
    /// # Errors
    /// Where the exchange breaks off before that.
    ///
    /// # Panics
    /// Where the URI is not absolute.
    pub async fn open(&mut self, mut request: Request<Body>) -> io::Result<Response<Incoming>> {
        if !self.is_http2() {
            let uri = request.uri().clone();
            let authority = uri.authority().expect("the URI is absolute").as_str();
            let host = authority.parse().expect("an authority is a field value");
            request.headers_mut().entry(http::header::HOST).or_insert(host);
            if let Self::Http1(_) = self {
                let target = uri.path_and_query().map_or("/", |target| target.as_str());
                *request.uri_mut() = target.parse().expect("a path is a URI");
            }
        }
        self.send(request).await
    }

    /// GET of an absolute URI.
    ///
    /// # Errors
    /// Where the exchange breaks off.
    pub async fn get(&mut self, uri: &str) -> io::Result<Fetched> {
        self.fetch(Request::get(uri).body(empty_body()).map_err(io::Error::other)?).await
    }

    /// POST of `body` to an absolute URI.
    ///
    /// # Errors
    /// Where the exchange breaks off.
    pub async fn post(&mut self, uri: &str, body: impl Into<Bytes>) -> io::Result<Fetched> {
        self.fetch(Request::post(uri).body(bytes_body(body)).map_err(io::Error::other)?).await
    }
}

async fn http1_sender<S>(stream: S) -> io::Result<http1::SendRequest<Body>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // An error of the connection shows in the request that it hit.
    tokio::spawn(async { drop(connection.with_upgrades().await) });
    Ok(sender)
}

/// Reads a response whole.
///
/// # Errors
/// Where its body breaks off.
pub async fn read(response: Response<Incoming>) -> io::Result<Fetched> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let trailers = body.trailers().cloned();
    Ok(Fetched { status: head.status, headers: head.headers, body: body.to_bytes(), trailers })
}
