//! The way to an origin through another proxy: which destinations take it, and the tunnel that the proxy opens for one
//! (CONNECT, RFC 9110 9.3.6). The proxy is told the name and never an address; what it answers is judged here and not
//! passed on. TLS with the origin is made inside the tunnel, and verified as it is without.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use sandgate_policy::UpstreamOptions;
use sandgate_policy::destination::{Destination, Scheme};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::proxy_auth::AuthFile;
use super::socket::Socket;
use super::{Failure, connect, tls};
use crate::body::RequestBody;
use crate::meter::Metered;
use crate::refusal::Code;
use crate::settings::upstream_proxy::{Proxies, ProxyUrl};
use crate::settings::{Direct, Settings};

/// The proxies on the way to origins, and how they are spoken to.
pub struct Chain {
    proxies: Proxies,
    direct: Vec<Direct>,
    auth: Option<AuthFile>,
    tls: Option<TlsConnector>,
    handshake_timeout: Duration,
    answer_timeout: Duration,
}

impl Chain {
    /// The chain that `settings` describe. A proxy's certificate is verified with `roots`.
    ///
    /// # Errors
    /// Text that names the file that can't be used.
    pub fn new(settings: &Settings, roots: &Arc<RootCertStore>) -> Result<Self, String> {
        let proxies = settings.upstream_proxy.clone();
        let over_tls = proxies.each().any(|proxy| proxy.scheme == Scheme::Https);
        let tls = over_tls.then(|| tls::connectors(roots, &UpstreamOptions::default())).transpose()?;
        let auth = settings.upstream_proxy_auth_file.clone().map(AuthFile::open).transpose()?;
        for proxy in proxies.each() {
            let credentials = auth.is_some() || proxy.credentials.is_some();
            tracing::info!(%proxy, credentials, "origins are reached through a proxy");
        }
        Ok(Self {
            proxies,
            direct: settings.upstream_no_proxy.clone(),
            auth,
            tls: tls.map(|connectors| connectors.http1),
            handshake_timeout: settings.handshake_timeout,
            answer_timeout: settings.dial_timeout,
        })
    }

    /// Every proxy that connections are made to.
    pub fn proxies(&self) -> impl Iterator<Item = &Arc<ProxyUrl>> {
        self.proxies.each()
    }

    /// The proxy that `destination` is reached through; `None` where it is reached directly.
    #[must_use]
    pub fn proxy(&self, destination: &Destination) -> Option<&ProxyUrl> {
        let proxy = self.proxies.of(destination.scheme)?;
        (!self.direct.iter().any(|direct| direct.has(destination))).then_some(proxy)
    }

    /// Has the proxy at the other end of `socket` open a tunnel to `destination`. What is returned carries the tunnel's
    /// bytes and no others.
    ///
    /// # Errors
    /// [`Failure`] with one of the codes of the upstream proxy.
    pub async fn tunnel(&self, proxy: &ProxyUrl, socket: Socket, destination: &Destination) -> Result<Socket, Failure> {
        let socket = match (proxy.scheme, &self.tls) {
            (Scheme::Https, Some(connector)) => self.over_tls(connector, proxy, socket).await?,
            _ => socket,
        };
        let credentials = self.credentials(proxy)?;
        let authenticated = credentials.is_some();
        let request = request(destination, credentials)
            .map_err(|_| said(Code::UpstreamProxyProtocol, proxy, "can't be asked for such a name"))?;
        let asked = timeout(self.answer_timeout, ask(socket, request)).await;
        match asked.map_err(|_| said(Code::UpstreamProxyTimeout, proxy, "did not answer in time"))? {
            Ok(Answer::Tunnel(socket)) => Ok(socket),
            Ok(Answer::TooMuch) => Err(said(
                Code::UpstreamProxyProtocol,
                proxy,
                "sent more than its answer before anything was asked of the origin",
            )),
            Ok(Answer::Refused(response)) => Err(refused(proxy, &response, destination, authenticated)),
            Err(error) if error.is_parse() => {
                Err(said(Code::UpstreamProxyProtocol, proxy, "sent an answer that is not valid HTTP"))
            }
            Err(_) => Err(said(
                Code::UpstreamProxyProtocol,
                proxy,
                "closed the connection without an answer, as one may whose URL should begin with https://",
            )),
        }
    }

    async fn over_tls(&self, connector: &TlsConnector, proxy: &ProxyUrl, socket: Socket) -> Result<Socket, Failure> {
        let name =
            tls::server_name(&proxy.host).map_err(|failure| said(Code::UpstreamProxyTls, proxy, &failure.detail))?;
        let handshake = timeout(self.handshake_timeout, connector.connect(name, socket)).await;
        let handshake =
            handshake.map_err(|_| said(Code::UpstreamProxyTimeout, proxy, "did not end the TLS handshake in time"))?;
        let stream = handshake.map_err(|error| not_over_tls(proxy, &tls::failure(&error)))?;
        Ok(Socket::Tls(Box::new(stream)))
    }

    /// Those of the file, which may have changed since the last connection; or those of the user's variable.
    fn credentials(&self, proxy: &ProxyUrl) -> Result<Option<HeaderValue>, Failure> {
        let Some(file) = &self.auth else { return Ok(proxy.credentials.as_ref().map(|known| known.field())) };
        let credentials = file.read();
        let credentials = credentials.ok_or_else(|| {
            said(
                Code::UpstreamProxyAuth,
                proxy,
                "is not asked, for the file with the credentials can't be read: the log says why",
            )
        })?;
        Ok(Some(credentials.field()))
    }
}

/// What a failed handshake with a proxy is called.
fn not_over_tls(proxy: &ProxyUrl, failure: &Failure) -> Failure {
    let is_certificate = failure.code.proxy_status() == Code::UpstreamProxyCertificate.proxy_status();
    let (code, before, after) = match is_certificate {
        true => (
            Code::UpstreamProxyCertificate,
            "shows one that is refused",
            "a private CA's root can be added with --upstream-ca",
        ),
        false => (
            Code::UpstreamProxyTls,
            "is not understood",
            "the URL of a proxy that does not speak TLS itself begins with http://",
        ),
    };
    said(code, proxy, &format!("{before}: {}; {after}", failure.detail))
}

/// A failure of this proxy. `what` follows its URL.
pub(super) fn said(code: Code, proxy: &ProxyUrl, what: &str) -> Failure {
    Failure::new(code, format!("{proxy} {what}"))
}

fn request(destination: &Destination, credentials: Option<HeaderValue>) -> Result<Request<RequestBody>, http::Error> {
    let authority = format!("{}:{}", destination.host, destination.port);
    let mut request = Request::new(RequestBody::of_our_own());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::try_from(&authority)?;
    request.headers_mut().insert(HOST, HeaderValue::try_from(authority)?);
    if let Some(credentials) = credentials {
        request.headers_mut().insert(PROXY_AUTHORIZATION, credentials);
    }
    Ok(request)
}

/// What a proxy makes of a CONNECT.
enum Answer {
    Tunnel(Socket),
    Refused(Response<Incoming>),
    /// Bytes came with the answer. Nothing was sent into the tunnel yet, so no origin can have meant them.
    TooMuch,
}

async fn ask(socket: Socket, request: Request<RequestBody>) -> Result<Answer, hyper::Error> {
    let (mut sender, _) = connect::http1_sender(socket).await?;
    let mut response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Ok(Answer::Refused(response));
    }
    let upgraded = hyper::upgrade::on(&mut response).await?;
    Ok(match upgraded.downcast::<TokioIo<Metered<Socket>>>() {
        Ok(parts) if parts.read_buf.is_empty() => Answer::Tunnel(parts.io.into_inner().into_inner()),
        _ => Answer::TooMuch,
    })
}

fn refused(proxy: &ProxyUrl, response: &Response<Incoming>, destination: &Destination, authenticated: bool) -> Failure {
    let status = response.status();
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            said(Code::UpstreamProxyAuth, proxy, wanted(response, authenticated))
        }
        StatusCode::FORBIDDEN if destination.port != Scheme::Https.default_port() => {
            let what =
                "answered 403: many such proxies let CONNECT through to port 443 alone; whoever runs it can allow more";
            said(Code::UpstreamProxyDenied, proxy, what)
        }
        StatusCode::FORBIDDEN => {
            said(Code::UpstreamProxyDenied, proxy, "answered 403: whoever runs it decides which hosts it lets through")
        }
        status => said(Code::UpstreamProxyStatus, proxy, &format!("answered {}", status.as_u16())),
    }
}

/// What a 407 means for whoever runs this sandbox.
fn wanted(response: &Response<Incoming>, authenticated: bool) -> &'static str {
    let challenges = response.headers().get_all(PROXY_AUTHENTICATE);
    // A scheme stands at the start of a field or after a comma (RFC 9110 11.6.1).
    let is_basic = |scheme: &str| scheme.split_whitespace().next().is_some_and(|it| it.eq_ignore_ascii_case("basic"));
    let basic = challenges.iter().any(|value| value.to_str().is_ok_and(|text| text.split(',').any(is_basic)));
    match (basic, authenticated) {
        (false, _) => "answered 407 and takes no Basic authentication, which is all that can be given to it here",
        (true, false) => "answered 407: whoever runs this sandbox can set --upstream-proxy-auth-file",
        (true, true) => "answered 407: the user or the password that whoever runs this sandbox has set is wrong",
    }
}
