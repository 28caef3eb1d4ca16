//! The listener and the front doors: CONNECT, and plain requests in absolute form.
//!
//! A front door makes a `Destination`. Everything after that is shared.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sandgate_policy::destination::Destination;
use sandgate_policy::{Addition, ConnectVerdict, Outcome};
use sandgate_service::watches;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::ahead::Socket;
use crate::audit::{Kind, Record, Verdict};
use crate::body::ResponseBody;
use crate::engine::{Engine, Inbound};
use crate::forward::{forward, refused};
use crate::link::Link;
use crate::metrics::Open;
use crate::pace::Paced;
use crate::refusal::{Code, Form, Refusal};
use crate::settings::Settings;
use crate::target;
use crate::tunnel;
use crate::upstream::socket::set_options;

/// The pause after an accept that failed because something ran out: long enough for connections to end.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A client's connection, counted as open for as long as anything of it runs.
pub struct Client {
    /// Its number.
    pub connection: u64,
    /// Whether a request runs on it, and the way to end it.
    pub link: Arc<Link>,
    engine: Arc<Engine>,
    _place: OwnedSemaphorePermit,
    _open: Open,
}

impl Client {
    /// The next client, in its place.
    #[must_use]
    pub fn new(engine: &Arc<Engine>, place: OwnedSemaphorePermit) -> Self {
        Self {
            connection: engine.numbers.connection(),
            link: Arc::default(),
            engine: Arc::clone(engine),
            _place: place,
            _open: engine.metrics.connection(),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.engine.numbers.end_connection();
    }
}

/// Accepts connections until the task is dropped. `places` bounds how many are served at once; more wait unaccepted.
pub async fn serve(engine: Arc<Engine>, listener: TcpListener, places: Arc<Semaphore>) {
    let keepalive = engine.settings.tcp_keepalive;
    // Linux gives them to each connection, which saves four system calls there; other kernels may not.
    set_options(&listener, keepalive);
    let mut are_inherited = None;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                if !*are_inherited.get_or_insert_with(|| stream.nodelay().unwrap_or(false)) {
                    set_options(&stream, keepalive);
                }
                let client = Arc::new(Client::new(&engine, place));
                tokio::spawn(speak(Arc::clone(&engine), stream, client));
            }
            Err(error) => {
                // A client that is gone already is no trouble; being out of descriptors passes when others end.
                let out_of_descriptors = crate::upstream::is_out_of_descriptors(&error);
                tracing::warn!(error = %watches::explained(error), "a connection could not be accepted");
                if out_of_descriptors {
                    engine.metrics.descriptors_exhausted();
                    sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
}

/// Speaks HTTP with a client to the end of its connection, or until a tunnel takes it over.
pub async fn speak<S>(engine: Arc<Engine>, stream: S, client: Arc<Client>)
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
{
    let stream = Paced::new(stream, &client.link, &engine.settings).watched();
    let builder = http1_server(&engine.settings, &stream, engine.settings.connect_head_timeout);
    let service = service_fn(|request| {
        let (engine, client) = (Arc::clone(&engine), Arc::clone(&client));
        async move { Ok::<_, Infallible>(enter(engine, client, request).await) }
    });
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    if let Some(Err(error)) = client.link.while_whole(served).await {
        tracing::debug!(%error, connection = client.connection, "a client's connection ended early");
    }
}

/// How HTTP/1 is spoken to the client of `stream`, in tunnels and outside. `head_timeout` bounds a request's head, and the
/// wait for the first one.
#[must_use]
pub fn http1_server<S>(settings: &Settings, stream: &Paced<S>, head_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(stream.head_timer(head_timeout, settings.client_idle_timeout))
        .header_read_timeout(head_timeout)
        .max_buf_size(settings.max_head_bytes.max(MIN_BUFFER))
        .max_header_size(settings.max_head_bytes)
        .preserve_header_case(true)
        .auto_date_header(false)
        .half_close(true);
    if settings.max_head_fields > HYPER_FIELDS {
        builder.max_headers(settings.max_head_fields);
    }
    builder
}

/// The fields of a head that hyper reads without being told; for more it allocates with every request.
const HYPER_FIELDS: usize = 100;
/// hyper takes no smaller buffer.
const MIN_BUFFER: usize = 8192;

async fn enter(engine: Arc<Engine>, client: Arc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
    if request.method() != Method::CONNECT {
        let inbound = Inbound { connection: client.connection, link: Arc::clone(&client.link), tunnel: None };
        return forward(engine, inbound, request).await;
    }
    match connect(&engine, &client, request) {
        Ok(response) => response,
        Err(refusal) => refused(&refusal, Form::Json),
    }
}

/// Judges a CONNECT. Where it is allowed, the tunnel goes on in a task of its own once the response is out.
fn connect(
    engine: &Arc<Engine>,
    client: &Arc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Refusal> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let destination = target::of_connect(&head).inspect_err(|refusal| {
        record(engine, client, None, Verdict::Denied, Some(refusal));
    })?;
    let snapshot = engine.enforcement.current();
    let verdict = snapshot.policy.judge_connect(&destination.host, destination.port);
    let address = destination.host.address();
    let outcome = match verdict.outcome {
        // Audit mode never relaxes the address checks. A name is resolved, and its addresses judged, by who dials.
        Outcome::Allow | Outcome::Audit(_)
            if address.is_some_and(|address| engine.upstream.dialer().is_proxy(address, destination.port)) =>
        {
            Outcome::Deny(Code::ProxyLoop)
        }
        outcome => outcome,
    };
    let addition = || {
        let addition = snapshot.policy.addition_for_connect(&destination.host, destination.port);
        engine.helpful(addition, &destination)
    };
    if let Outcome::Deny(code) = outcome {
        let refusal = Refusal::denied(code, &destination, &snapshot.policy, addition());
        record(engine, client, Some(&destination), Verdict::Denied, Some(&refusal));
        return Err(refusal);
    }
    admitted(engine, client, &destination, &verdict, addition);
    let (engine, client) = (Arc::clone(engine), Arc::clone(client));
    tokio::spawn(async move {
        // An error here is a client that went away before its 200.
        if let Ok(upgraded) = upgrade.await {
            tunnel::serve(engine, client, destination, upgraded).await;
        }
    });
    Ok(Response::new(ResponseBody::Local(http_body_util::Full::default())))
}

fn admitted(
    engine: &Engine,
    client: &Client,
    destination: &Destination,
    verdict: &ConnectVerdict,
    addition: impl FnOnce() -> Option<Arc<Addition>>,
) {
    let mut line = Record::new(Kind::Decision, client.connection, Verdict::Allowed).to(destination);
    line.method = Some(Method::CONNECT);
    line.scheme = None;
    line.status = Some(http::StatusCode::OK);
    line.rule = verdict.https.as_ref().or(verdict.http.as_ref()).map(|rule| Arc::clone(&rule.id));
    if let Outcome::Audit(code) = verdict.outcome {
        line.verdict = Verdict::Audited;
        line.code = Some(code);
        line.addition = addition();
    }
    engine.metrics.decided(line.verdict, line.code);
    engine.audit.record(line);
}

fn record(
    engine: &Engine,
    client: &Client,
    destination: Option<&Destination>,
    verdict: Verdict,
    refusal: Option<&Refusal>,
) {
    let mut line = Record::new(Kind::Decision, client.connection, verdict);
    if let Some(destination) = destination {
        line = line.to(destination);
    }
    line.scheme = None;
    line.method = Some(Method::CONNECT);
    line.code = refusal.map(|refusal| refusal.code);
    line.status = refusal.map(|refusal| refusal.code.status());
    line.addition = refusal.and_then(|refusal| refusal.addition.clone());
    engine.metrics.decided(verdict, line.code);
    engine.audit.record(line);
}
