//! The admin port: `/healthz`, `/readyz` and `/metrics` over HTTP/1, in the clear. It answers GET and HEAD, changes
//! nothing, and shows nothing of what is in pods.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sandgate_contract::{HEALTH_PATH, METRICS_PATH, READY_PATH};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::health::Health;
use crate::metrics::Metrics;

/// Connections at once. One more ends the oldest, so that whoever holds connections open cannot keep the kubelet out.
const MAX_CONNECTIONS: usize = 64;
/// A connection, from its first moment to its end.
const TIME: Duration = Duration::from_secs(10);
/// The largest request head, in bytes: the least that hyper can be set to.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// The most header fields.
const MAX_HEADERS: usize = 50;
/// How long no connection is accepted after an accept failed, mostly for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The text format that the prometheus crate writes.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serves the admin port until the future is dropped.
pub async fn serve(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>) {
    let admin = Arc::new(Admin { health, metrics });
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(connections.spawn(Arc::clone(&admin).connection(stream)));
    }
}

struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Admin {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request| {
            let response = self.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            // The whole connection is timed.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(TIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin port failed"),
            Err(_elapsed) => tracing::debug!("a connection to the admin port took too long"),
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = "this port changes nothing; use GET or HEAD\n";
            let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            HEALTH_PATH => response(StatusCode::OK, TEXT, "ok\n"),
            READY_PATH => self.readiness(),
            METRICS_PATH => {
                self.metrics.ready(self.health.unmet().is_empty());
                response(StatusCode::OK, METRICS, self.metrics.encode())
            }
            _ => response(StatusCode::NOT_FOUND, TEXT, "this port has /healthz, /readyz and /metrics\n"),
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        let unmet = self.health.unmet();
        if unmet.is_empty() {
            return response(StatusCode::OK, TEXT, "ready\n");
        }
        response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready\n{}\n", unmet.join("\n")))
    }
}

fn response(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let body = body.into();
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    // Set by hand, so that HEAD says the same length as GET.
    response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::health::Condition;

    struct Port {
        address: SocketAddr,
        health: Arc<Health>,
        _serving: JoinSet<()>,
    }

    impl Port {
        async fn open() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let health = Arc::new(Health::default());
            let mut serving = JoinSet::new();
            serving.spawn(serve(listener, Arc::clone(&health), Arc::new(Metrics::new())));
            Self { address, health, _serving: serving }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Sends bytes as they are, and reads to the end.
        async fn send(&self, bytes: &[u8]) -> String {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.unwrap();
            read_to_end(&mut stream).await
        }

        async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
            let text = self.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
        }
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut text));
        read.await.expect("the connection is closed after the answer").unwrap();
        text
    }

    #[tokio::test]
    async fn it_is_healthy_at_once_and_ready_when_every_condition_is_met_until_it_drains() {
        let port = Port::open().await;
        assert_eq!(port.ask("GET", "/healthz").await.2, "ok\n");
        let (status, _, body) = port.ask("GET", "/readyz").await;
        assert_eq!((status, body.lines().count()), (503, 1 + Condition::ALL.len()), "{body}");
        for condition in Condition::ALL {
            port.health.set(condition, Ok(()));
        }
        let (status, _, body) = port.ask("GET", "/readyz?verbose").await;
        assert_eq!((status, body.as_str()), (200, "ready\n"));
        assert!(port.ask("GET", "/metrics").await.2.contains("\nsandgate_webhook_ready 1\n"));
        port.health.drain();
        let (status, _, body) = port.ask("GET", "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "not ready\ndraining: the process was asked to end\n"));
        assert_eq!(port.ask("GET", "/healthz").await.0, 200);
        assert!(port.ask("GET", "/metrics").await.2.contains("\nsandgate_webhook_ready 0\n"));
    }

    #[tokio::test]
    async fn metrics_are_in_the_text_format() {
        let (status, head, _) = Port::open().await.ask("GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    }

    #[tokio::test]
    async fn head_is_get_without_a_body_and_nothing_else_is_answered() {
        let port = Port::open().await;
        let (status, head, body) = port.ask("HEAD", "/healthz").await;
        assert_eq!((status, body.as_str()), (200, ""));
        assert!(head.contains("content-length: 3"), "{head}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "MADEUP"] {
            let (status, head, _) = port.ask(method, "/healthz").await;
            assert_eq!(status, 405, "{method}");
            assert!(head.contains("allow: get, head"), "{head}");
        }
        for path in ["/", "/healthz/", "/debug/pprof", "//metrics"] {
            assert_eq!(port.ask("GET", path).await.0, 404, "{path}");
        }
    }

    #[tokio::test]
    async fn connections_that_say_nothing_do_not_keep_a_probe_out() {
        let port = Port::open().await;
        let mut silent = Vec::new();
        for _ in 0..=MAX_CONNECTIONS {
            silent.push(port.connect().await);
        }
        assert_eq!(port.ask("GET", "/healthz").await.0, 200);
        // Two were beyond the limit, and the oldest made place for them.
        for stream in &mut silent[..2] {
            assert_eq!(read_to_end(stream).await, "");
        }
    }
}
