//! One destination of the policy, checked and compiled: where it is, how it is spoken to, and what may be asked of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::access::Access;
use crate::destination::Scheme;
use crate::pattern::HostPattern;

/// A destination of the policy. Immutable; equal rules treat every request alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name of the rule in logs and refusals, unique in its policy.
    pub id: Arc<str>,
    /// The line where it begins, from 1; 0 in the short form.
    pub line: usize,
    /// The hosts that it is about.
    pub pattern: HostPattern,
    /// The ports that it is about, ascending, each once; never empty.
    pub ports: Vec<u16>,
    /// How the origin is spoken to.
    pub scheme: Scheme,
    /// Whether TLS is intercepted. [`Tls::Intercept`] with scheme http, where it means nothing.
    pub tls: Tls,
    /// What may be asked of it; empty for a passthrough.
    pub access: Access,
    /// Ranges that may be dialled although they are not globally reachable.
    pub private_cidrs: Vec<IpNet>,
    /// How the origin is connected to.
    pub upstream: UpstreamOptions,
    /// What a client may use of it.
    pub limits: Limits,
}

/// What happens to the TLS of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It ends at the sidecar, and each request is judged.
    Intercept,
    /// It reaches the origin as it is. Only the name in its ClientHello is checked.
    Passthrough {
        /// Whether a ClientHello may hide its inner name (RFC 9849).
        ech: Ech,
    },
}

/// What a passthrough does with a ClientHello that carries `encrypted_client_hello`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ech {
    /// The tunnel is closed.
    #[default]
    Refuse,
    /// It passes; the name that the origin sees is then unknown.
    Allow,
}

/// What decides the making of an upstream connection, beside its destination. Part of the key of a pooled connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamOptions {
    /// Absolute paths of PEM files whose certificates are trusted beside the public roots.
    pub ca: Vec<PathBuf>,
    /// The certificate that the sidecar shows to the origin.
    pub client_cert: Option<ClientCert>,
    /// The HTTP versions that are offered to the origin.
    pub http: UpstreamHttp,
}

/// A client certificate, in files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCert {
    /// The absolute path of the PEM chain.
    pub certificate: PathBuf,
    /// The absolute path of its PEM key.
    pub key: PathBuf,
}

/// The HTTP versions that are offered to an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamHttp {
    /// HTTP/2 and HTTP/1.1; the origin chooses by ALPN. HTTP/1.1 without TLS.
    #[default]
    Auto,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
}

/// What a client may use of a destination. `None` is no limit of the rule's own. On a passthrough a tunnel counts as
/// one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests that may begin each second, on average; at least 1.
    pub requests_per_second: Option<u32>,
    /// Requests that may begin at once after a pause; at least 1, and only beside a rate.
    pub burst: Option<u32>,
    /// Requests that may be under way at the same time; at least 1.
    pub concurrent_requests: Option<u32>,
    /// The largest request body, in bytes.
    pub body_bytes: Option<u64>,
    /// How long a stream may carry nothing.
    pub idle: Option<Duration>,
}
