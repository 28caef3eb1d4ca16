//! Every way in which the sidecar says no: one table of code, status and Proxy-Status error type, and the response
//! that a client sees. Nothing else builds a refusal.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $proxy_status:literal;)*) => {
        /// A stable reason for a refusal. Its text form is part of the interface: clients and log queries match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as clients and logs see it, in snake case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status of a refusal with this code. Where a tunnel is closed and no response can be sent, the
            /// status that would have fitted.
            #[must_use]
            pub fn status(self) -> StatusCode {
                let status = match self { $(Self::$variant => $status,)* };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The error type of RFC 9209 2.3 that goes into `Proxy-Status`.
            #[must_use]
            pub fn proxy_status(self) -> &'static str {
                match self { $(Self::$variant => $proxy_status,)* }
            }
        }
    };
}

codes! {
    /// The authority is not a valid host and port.
    BadAuthority = "bad_authority", 400, "http_request_error";
    /// The request breaks HTTP in a way that the sidecar does not pass on.
    BadRequest = "bad_request", 400, "http_request_error";
    /// The path has dot segments, backslashes, controls or bad percent-encoding where the policy judges paths.
    BadPath = "bad_path", 400, "http_request_error";
    /// No destination of the policy has this host.
    HostNotAllowed = "host_not_allowed", 403, "http_request_denied";
    /// A destination has the host, but none on this port or with this scheme.
    PortNotAllowed = "port_not_allowed", 403, "http_request_denied";
    /// A `deny` entry of the destination matches the method and path.
    RequestDenied = "request_denied", 403, "http_request_denied";
    /// The destination has an `allow` list, and no entry matches the method and path.
    RequestNotAllowed = "request_not_allowed", 403, "http_request_denied";
    /// The name resolves to no address that is globally reachable unicast or in the rule's `private_cidrs`.
    AddressNotAllowed = "address_not_allowed", 403, "destination_ip_prohibited";
    /// The address is one of a cloud's metadata services, which are refused whatever the policy lists.
    MetadataAddress = "metadata_address", 403, "destination_ip_prohibited";
    /// The address is the pod's own.
    OwnAddress = "own_address", 403, "destination_ip_prohibited";
    /// The address and port are the sidecar's own listeners.
    ProxyLoop = "proxy_loop", 403, "proxy_loop_detected";
    /// CONNECT inside a tunnel.
    ConnectInTunnel = "connect_in_tunnel", 405, "http_request_denied";
    /// The body is larger than the rule's limit.
    BodyTooLarge = "body_too_large", 413, "http_request_denied";
    /// `Host`, `:authority`, the request target or SNI names another destination than the tunnel.
    Misdirected = "misdirected_request", 421, "http_request_error";
    /// The rule's request rate is used up.
    RateLimited = "rate_limited", 429, "http_request_denied";
    /// The rule's limit of concurrent requests is reached.
    TooManyRequests = "too_many_requests", 429, "connection_limit_reached";
    /// The name does not exist, or has no address.
    NameNotFound = "name_not_found", 502, "dns_error";
    /// The name servers answered with a failure.
    DnsFailed = "dns_failed", 502, "dns_error";
    /// The origin refused the connection.
    ConnectionRefused = "connection_refused", 502, "connection_refused";
    /// The connection to the origin could not be made.
    ConnectionFailed = "connection_failed", 502, "destination_unavailable";
    /// The origin closed the connection before its response was complete.
    UpstreamClosed = "upstream_closed", 502, "connection_terminated";
    /// The origin's response is not valid HTTP.
    UpstreamProtocol = "upstream_protocol_error", 502, "http_protocol_error";
    /// The TLS handshake with the origin failed for a reason other than its certificate.
    TlsHandshake = "tls_handshake_failed", 502, "tls_protocol_error";
    /// The origin's certificate has expired.
    CertificateExpired = "certificate_expired", 502, "tls_certificate_error";
    /// The origin's certificate is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid", 502, "tls_certificate_error";
    /// The origin's certificate is for other names.
    CertificateNameMismatch = "certificate_name_mismatch", 502, "tls_certificate_error";
    /// The origin's certificate was not issued by a trusted root; a self-signed one is among these.
    CertificateUnknownIssuer = "certificate_unknown_issuer", 502, "tls_certificate_error";
    /// The origin's certificate is outside the name constraints of a CA in its chain.
    CertificateNameConstraints = "certificate_name_constraints", 502, "tls_certificate_error";
    /// The origin's certificate is refused for another reason, named in the message.
    CertificateInvalid = "certificate_invalid", 502, "tls_certificate_error";
    /// The origin switched protocols unasked, or with a wrong `Sec-WebSocket-Accept`.
    BadUpgrade = "bad_upgrade", 502, "http_upgrade_failed";
    /// A gRPC request, and the origin speaks no HTTP/2.
    GrpcNeedsHttp2 = "grpc_needs_http2", 502, "http_protocol_error";
    /// The sidecar has no file descriptor or other resource left for this request.
    Overloaded = "overloaded", 503, "proxy_internal_error";
    /// No CA can sign a certificate for this host.
    NoCertificate = "no_certificate", 503, "proxy_internal_error";
    /// The name servers did not answer in time.
    DnsTimeout = "dns_timeout", 504, "dns_timeout";
    /// The connection to the origin was not made in time.
    ConnectTimeout = "connect_timeout", 504, "connection_timeout";
    /// The TLS handshake with the origin did not end in time.
    TlsTimeout = "tls_timeout", 504, "connection_timeout";
    /// The origin did not send its response head in time, or stalled in its body.
    ResponseTimeout = "response_timeout", 504, "http_response_timeout";
    /// A passthrough ClientHello names no host, or another host than CONNECT did.
    SniMismatch = "sni_mismatch", 421, "tls_protocol_error";
    /// A passthrough ClientHello hides its inner name, and the rule does not allow that.
    EchNotAllowed = "ech_not_allowed", 403, "tls_protocol_error";
    /// The first bytes of a tunnel are neither TLS nor HTTP that the policy allows there.
    UnknownProtocol = "unknown_protocol", 400, "http_request_error";
    /// The client's TLS handshake failed; often it does not trust the sidecar's CA.
    ClientTls = "client_tls_failed", 400, "tls_protocol_error";
    /// The client did not send what it had to in time.
    ClientTimeout = "client_timeout", 408, "http_request_error";
    /// A stream that was open when the policy changed is no longer allowed.
    PolicyChanged = "policy_changed", 403, "http_request_denied";
    /// The stream carried nothing for the rule's idle time.
    IdleTimeout = "idle_timeout", 504, "connection_read_timeout";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: the code, what it is about, and one sentence that a person or an agent can act on.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The host and port that were asked for, as canonical as they could be made; empty when nothing was readable.
    pub host: String,
    /// The `id` of the policy's destination that decided, if one did.
    pub rule: Option<Arc<str>>,
    /// One sentence, ASCII, without secrets, paths of the sidecar or anything from a request but its host.
    pub message: String,
    /// Seconds after which a retry makes sense (`Retry-After`), for 429 and 503.
    pub retry_after: Option<u64>,
}
