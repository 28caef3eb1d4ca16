//! The health port: `/healthz`, `/readyz` and `/metrics` over HTTP/1, in the clear. It answers GET and HEAD, and changes
//! nothing: a workload reaches it too.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
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
use nix::errno::Errno;
use sandgate_contract::{HEALTH_PATH, METRICS_PATH, READY_PATH};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::watches;

/// Connections that one listener serves at once. One more ends the oldest, so that a workload which holds connections
/// open cannot keep the kubelet's probe out.
const MAX_CONNECTIONS: usize = 64;
/// The largest request head, in bytes: the least that hyper can be set to.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// The most header fields.
const MAX_HEADERS: usize = 50;
/// How long no connection is accepted after an accept failed, often for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The text format that the prometheus crate writes.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What a program says of itself on its health port. Anybody who reaches the port reads it, so it holds no secret.
pub trait State: Send + Sync + 'static {
    /// The answer of `/readyz`: 200 while the program is ready, else 503; as the body, one JSON object and a newline.
    fn readiness(&self) -> (StatusCode, String);

    /// The body of `/metrics`, in the Prometheus text format 0.0.4.
    fn metrics(&self) -> String;

    /// A connection could not be accepted because the process or the machine has no descriptor left.
    fn descriptors_exhausted(&self);
}

/// Serves the health port on all `listeners` until the future is dropped. A connection has `time` from its first moment
/// to its end.
pub async fn serve<S: State>(listeners: Vec<TcpListener>, state: Arc<S>, time: Duration) {
    let port = Arc::new(Port { state, time });
    let mut tasks: JoinSet<_> = listeners.into_iter().map(|listener| accept(listener, Arc::clone(&port))).collect();
    while tasks.join_next().await.is_some() {}
}

struct Port<S> {
    state: Arc<S>,
    time: Duration,
}

async fn accept<S: State>(listener: TcpListener, port: Arc<Port<S>>) {
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                port.accept_failed(error);
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
        open.push_back(connections.spawn(Arc::clone(&port).connection(stream)));
    }
}

impl<S: State> Port<S> {
    fn accept_failed(&self, error: io::Error) {
        let errno = error.raw_os_error().map(Errno::from_raw);
        if matches!(errno, Some(Errno::EMFILE | Errno::ENFILE)) {
            self.state.descriptors_exhausted();
        }
        tracing::warn!(error = %watches::explained(error), "the health port cannot accept a connection");
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let time = self.time;
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
        match tokio::time::timeout(time, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection to the health port failed"),
            Err(_) => tracing::debug!("a connection to the health port took too long"),
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return method_not_allowed();
        }
        match request.uri().path() {
            HEALTH_PATH => response(StatusCode::OK, JSON, "{\"status\":\"ok\"}\n"),
            READY_PATH => {
                let (status, body) = self.state.readiness();
                response(status, JSON, body)
            }
            METRICS_PATH => response(StatusCode::OK, METRICS, self.state.metrics()),
            _ => not_found(),
        }
    }
}

fn method_not_allowed() -> Response<Full<Bytes>> {
    let body = "{\"error\":\"method_not_allowed\",\"message\":\"this port changes nothing; use GET or HEAD\"}\n";
    let mut response = response(StatusCode::METHOD_NOT_ALLOWED, JSON, body);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn not_found() -> Response<Full<Bytes>> {
    let body = "{\"error\":\"not_found\",\"message\":\"this port has /healthz, /readyz and /metrics\"}\n";
    response(StatusCode::NOT_FOUND, JSON, body)
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A program that becomes ready when it is told to.
    #[derive(Default)]
    struct Program(AtomicBool);

    impl State for Program {
        fn readiness(&self) -> (StatusCode, String) {
            match self.0.load(Ordering::Relaxed) {
                true => (StatusCode::OK, "{\"status\":\"ready\"}\n".to_owned()),
                false => (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"not_ready\"}\n".to_owned()),
            }
        }

        fn metrics(&self) -> String {
            "a_metric 1\n".to_owned()
        }

        fn descriptors_exhausted(&self) {}
    }

    struct Opened {
        address: SocketAddr,
        program: Arc<Program>,
        _serving: JoinSet<()>,
    }

    impl Opened {
        async fn open() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let program = Arc::new(Program::default());
            let mut serving = JoinSet::new();
            serving.spawn(serve(vec![listener], Arc::clone(&program), Duration::from_secs(15)));
            Self { address, program, _serving: serving }
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
    async fn it_is_healthy_at_once_and_ready_later() {
        let port = Opened::open().await;
        assert_eq!(port.ask("GET", "/healthz").await.2, "{\"status\":\"ok\"}\n");
        let (status, _, body) = port.ask("GET", "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "{\"status\":\"not_ready\"}\n"));
        port.program.0.store(true, Ordering::Relaxed);
        let (status, head, body) = port.ask("GET", "/readyz?verbose").await;
        assert_eq!((status, body.as_str()), (200, "{\"status\":\"ready\"}\n"));
        assert!(head.contains("content-type: application/json"), "{head}");
    }

    #[tokio::test]
    async fn metrics_are_in_the_text_format() {
        let (status, head, body) = Opened::open().await.ask("GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert_eq!(body, "a_metric 1\n");
    }

    #[tokio::test]
    async fn head_is_get_without_a_body() {
        let port = Opened::open().await;
        let (status, head, body) = port.ask("HEAD", "/healthz").await;
        assert_eq!((status, body.as_str()), (200, ""));
        assert!(head.contains("content-length: 16"), "{head}");
    }

    #[tokio::test]
    async fn nothing_but_get_and_head_is_answered() {
        let port = Opened::open().await;
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "MADEUP"] {
            let (status, head, _) = port.ask(method, "/healthz").await;
            assert_eq!(status, 405, "{method}");
            assert!(head.contains("allow: get, head"), "{head}");
        }
    }

    #[tokio::test]
    async fn other_paths_are_not_found() {
        let port = Opened::open().await;
        for path in ["/", "/healthz/", "/debug/pprof", "//metrics"] {
            let (status, _, body) = port.ask("GET", path).await;
            assert_eq!(status, 404, "{path}");
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"], "not_found");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_small_http_head_is_refused() {
        let port = Opened::open().await;
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(2 * MAX_HEAD_BYTES));
        assert!(port.send(b"\x16\x03\x01 not http\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
        // Not all of it is read, so the answer may be lost to a reset.
        let mut stream = port.connect().await;
        stream.write_all(large.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        assert!(text.is_empty() || text.starts_with(b"HTTP/1.1 431 "), "{text:?}");
        assert_eq!(port.ask("GET", "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn connections_that_say_nothing_do_not_keep_a_probe_out() {
        let port = Opened::open().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS + 1 {
            silent.push(port.connect().await);
        }
        assert_eq!(port.ask("GET", "/healthz").await.0, 200);
        // Two were beyond the limit, and the oldest made place for them.
        for stream in &mut silent[..2] {
            assert_eq!(read_to_end(stream).await, "");
        }
    }
}
