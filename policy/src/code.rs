//! Every reason for a refusal: one table of code, status, Proxy-Status error type and what to tell the client.
//! A code is never reused or renamed: clients and log queries match on it.

use std::fmt;

use http::StatusCode;

macro_rules! codes {
    ($(
        $(#[$doc:meta])*
        $variant:ident = $code:literal, $status:literal, $proxy_status:literal, $summary:literal, $advice:literal;
    )*) => {
        /// A stable reason for a refusal. Its text form is part of the interface: clients and log queries match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of the table: `ALL[code as usize]` is `code`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as clients and logs see it, in snake case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
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
            pub const fn proxy_status(self) -> &'static str {
                match self { $(Self::$variant => $proxy_status,)* }
            }

            /// What is wrong, in a clause short enough for a reason phrase. `{host}` and `{authority}` stand for the
            /// host, and for host and port.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            /// What the client, or the person behind it, can do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

codes! {
    /// The authority is not a valid host and port.
    BadAuthority = "bad_authority", 400, "http_request_error",
        "the request names no valid host and port",
        "send a DNS name or IP address, without user information, and a port from 1 to 65535";
    /// The request breaks HTTP in a way that the sidecar does not pass on.
    BadRequest = "bad_request", 400, "http_request_error",
        "the request to {host} is not valid HTTP",
        "fix the request or update the client; sending it again will not help";
    /// The path has dot segments, backslashes, controls or bad percent-encoding where the policy judges paths.
    BadPath = "bad_path", 400, "http_request_error",
        "the path of the request to {host} is ambiguous",
        "remove dot segments, backslashes, control characters and broken percent-encoding from the path";
    /// No destination of the policy has this host.
    HostNotAllowed = "host_not_allowed", 403, "http_request_denied",
        "{host} is not in the policy",
        "use an allowed host, or ask whoever runs this sandbox to add this one";
    /// A destination has the host, but none on this port or with this scheme.
    PortNotAllowed = "port_not_allowed", 403, "http_request_denied",
        "{authority} is not in the policy",
        "the host is listed for another port or scheme: use that one, or ask whoever runs this sandbox to add this one";
    /// A `deny` entry of the destination matches the method and path.
    RequestDenied = "request_denied", 403, "http_request_denied",
        "the policy denies this method and path on {host}",
        "it is refused on purpose: do without it; a deny entry of the rule wins over what could be added";
    /// The destination has an `allow` list, and no entry matches the method and path.
    RequestNotAllowed = "request_not_allowed", 403, "http_request_denied",
        "this method and path are not allowed on {host}",
        "use one that the rule lists, or ask whoever runs this sandbox to add this one";
    /// The name resolves to no address that is globally reachable unicast or in the rule's `private_cidrs`.
    AddressNotAllowed = "address_not_allowed", 403, "destination_ip_prohibited",
        "{host} has no address that may be reached",
        "all are private or reserved; if that is meant, whoever runs this sandbox can list the range in private_cidrs";
    /// The address is one of a cloud's metadata services, which are refused whatever the policy lists.
    MetadataAddress = "metadata_address", 403, "destination_ip_prohibited",
        "{host} is a cloud metadata service",
        "these are never reachable from a sandbox, whatever the policy lists";
    /// The address is the pod's own.
    OwnAddress = "own_address", 403, "destination_ip_prohibited",
        "{host} is an address of this pod",
        "connect to it directly, without the proxy";
    /// The address and port are the sidecar's own listeners.
    ProxyLoop = "proxy_loop", 403, "proxy_loop_detected",
        "{authority} is this proxy itself",
        "the request must name the origin that it is for, not the proxy";
    /// CONNECT inside a tunnel.
    ConnectInTunnel = "connect_in_tunnel", 405, "http_request_denied",
        "CONNECT inside a tunnel to {host} is not allowed",
        "open a new connection to the proxy for another host";
    /// The body is larger than the rule's limit.
    BodyTooLarge = "body_too_large", 413, "http_request_denied",
        "the body is too large for {host}",
        "send a smaller one, or ask whoever runs this sandbox to raise the rule's limit";
    /// `Host`, `:authority`, the request target or SNI names another destination than the tunnel.
    Misdirected = "misdirected_request", 421, "http_request_error",
        "the request is for another host than {host}",
        "open a tunnel of its own for each host, and send its name in SNI and Host";
    /// The rule's request rate is used up.
    RateLimited = "rate_limited", 429, "http_request_denied",
        "the request rate for {host} is used up",
        "wait as long as Retry-After says, then send fewer requests";
    /// The rule's limit of concurrent requests is reached.
    TooManyRequests = "too_many_requests", 429, "connection_limit_reached",
        "too many requests to {host} at once",
        "wait until one has ended, or as long as Retry-After says";
    /// The name does not exist, or has no address.
    NameNotFound = "name_not_found", 502, "dns_error",
        "{host} does not exist or has no address",
        "check the spelling of the name";
    /// The name servers answered with a failure.
    DnsFailed = "dns_failed", 502, "dns_error",
        "the name servers failed to resolve {host}",
        "try again; if it stays, tell whoever runs this sandbox";
    /// The origin refused the connection.
    ConnectionRefused = "connection_refused", 502, "connection_refused",
        "{authority} refused the connection",
        "check the port; the service may be down";
    /// The connection to the origin could not be made.
    ConnectionFailed = "connection_failed", 502, "destination_unavailable",
        "{authority} cannot be reached",
        "the network or the service may be down; try again later";
    /// The origin closed the connection before its response was complete.
    UpstreamClosed = "upstream_closed", 502, "connection_terminated",
        "{host} closed the connection too early",
        "try again if the request may safely be sent twice";
    /// The origin's response is not valid HTTP.
    UpstreamProtocol = "upstream_protocol_error", 502, "http_protocol_error",
        "{host} sent an invalid HTTP response",
        "whoever runs that service has to fix it";
    /// The TLS handshake with the origin failed for a reason other than its certificate.
    TlsHandshake = "tls_handshake_failed", 502, "tls_protocol_error",
        "the TLS handshake with {host} failed",
        "the service may not speak TLS on this port, or only an old version";
    /// The origin's certificate has expired.
    CertificateExpired = "certificate_expired", 502, "tls_certificate_error",
        "the certificate of {host} has expired",
        "whoever runs that service has to renew it; the check cannot be turned off";
    /// The origin's certificate is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid", 502, "tls_certificate_error",
        "the certificate of {host} is not valid yet",
        "check the clocks of that service and of this machine";
    /// The origin's certificate is for other names.
    CertificateNameMismatch = "certificate_name_mismatch", 502, "tls_certificate_error",
        "the certificate is not for {host}",
        "use a name that the certificate lists; the check cannot be turned off";
    /// The origin's certificate was not issued by a trusted root; a self-signed one is among these.
    CertificateUnknownIssuer = "certificate_unknown_issuer", 502, "tls_certificate_error",
        "the issuer of the certificate of {host} is unknown",
        "if it is a private CA, whoever runs this sandbox can add its root";
    /// The origin's certificate is outside the name constraints of a CA in its chain.
    CertificateNameConstraints = "certificate_name_constraints", 502, "tls_certificate_error",
        "a CA in the chain may not issue for {host}",
        "whoever runs that service needs a certificate from another CA";
    /// The origin's certificate is refused for another reason, named in the message.
    CertificateInvalid = "certificate_invalid", 502, "tls_certificate_error",
        "the certificate of {host} is not valid",
        "whoever runs that service has to replace it; the check cannot be turned off";
    /// The origin switched protocols unasked, or with a wrong `Sec-WebSocket-Accept`.
    BadUpgrade = "bad_upgrade", 502, "http_upgrade_failed",
        "{host} answered an upgrade wrongly",
        "the service may not support WebSocket at this address";
    /// A gRPC request, and the origin speaks no HTTP/2.
    GrpcNeedsHttp2 = "grpc_needs_http2", 502, "http_protocol_error",
        "{host} does not speak HTTP/2, which gRPC needs",
        "check the host and port of the gRPC service";
    /// The sidecar has no file descriptor or other resource left for this request.
    Overloaded = "overloaded", 503, "proxy_internal_error",
        "the proxy has no resources left for {host}",
        "wait as long as Retry-After says, and keep fewer connections open";
    /// No CA can sign a certificate for this host.
    NoCertificate = "no_certificate", 503, "proxy_internal_error",
        "the proxy's CA cannot sign for {host}",
        "wait as long as Retry-After says; if it stays, tell whoever runs this sandbox";
    /// The name servers did not answer in time.
    DnsTimeout = "dns_timeout", 504, "dns_timeout",
        "resolving {host} took too long",
        "try again; if it stays, tell whoever runs this sandbox";
    /// The connection to the origin was not made in time.
    ConnectTimeout = "connect_timeout", 504, "connection_timeout",
        "connecting to {authority} took too long",
        "the service may be down or drop connections; try again later";
    /// The TLS handshake with the origin did not end in time.
    TlsTimeout = "tls_timeout", 504, "connection_timeout",
        "the TLS handshake with {host} took too long",
        "the service may be overloaded; try again later";
    /// The origin did not send its response head in time, or stalled in its body.
    ResponseTimeout = "response_timeout", 504, "http_response_timeout",
        "{host} did not answer in time",
        "the service may be overloaded; try again later if the request may safely be sent twice";
    /// A passthrough ClientHello names no host, or another host than CONNECT did.
    SniMismatch = "sni_mismatch", 421, "tls_protocol_error",
        "the TLS server name is not {host}",
        "send the host of the CONNECT request as the server name (SNI)";
    /// A passthrough ClientHello hides its inner name, and the rule does not allow that.
    EchNotAllowed = "ech_not_allowed", 403, "tls_protocol_error",
        "encrypted ClientHello to {host} is not allowed",
        "turn ECH off in the client, or ask whoever runs this sandbox for `ech: allow` in the rule";
    /// The first bytes of a tunnel are neither TLS nor HTTP that the policy allows there.
    UnknownProtocol = "unknown_protocol", 400, "http_request_error",
        "the tunnel to {host} carries neither TLS nor allowed HTTP",
        "only HTTPS, and HTTP where the rule says so, can pass";
    /// The client's TLS handshake failed; often it does not trust the sidecar's CA.
    ClientTls = "client_tls_failed", 400, "tls_protocol_error",
        "the client's TLS handshake for {host} failed",
        "make the client trust the sandbox's CA file; its environment names it";
    /// The client did not send what it had to in time.
    ClientTimeout = "client_timeout", 408, "http_request_error",
        "the client was too slow with its request to {host}",
        "send the whole request at once, and try again";
    /// The head has more fields, or is larger, than the sidecar takes.
    HeadTooLarge = "head_too_large", 431, "http_request_error",
        "the head of the request to {host} is too large",
        "send fewer and shorter header fields";
    /// The client closed the connection, or reset the stream, before it had all of the response.
    ClientClosed = "client_closed", 499, "http_request_error",
        "the client went away before the response from {host} was complete",
        "nothing was wrong here";
    /// A stream that was open when the policy changed is no longer allowed.
    PolicyChanged = "policy_changed", 403, "http_request_denied",
        "{host} is no longer in the policy",
        "it changed while this was open; ask whoever runs this sandbox";
    /// The stream carried nothing for the rule's idle time.
    IdleTimeout = "idle_timeout", 504, "connection_read_timeout",
        "the stream to {host} was idle too long",
        "open it again, and send something from time to time";
    /// An IP literal where origins are reached through an upstream proxy, which is given names alone.
    LiteralThroughProxy = "literal_through_proxy", 403, "destination_ip_prohibited",
        "{host} is an address, and the upstream proxy is given names only",
        "use a name, or ask whoever runs this sandbox to list the address in --upstream-no-proxy";
    /// The upstream proxy's own name has no address, or can't be resolved.
    UpstreamProxyDns = "upstream_proxy_dns", 502, "dns_error",
        "the name of the upstream proxy on the way to {host} is not found",
        "tell whoever runs this sandbox, which sends everything through that proxy";
    /// No connection to the upstream proxy can be made.
    UpstreamProxyUnreachable = "upstream_proxy_unreachable", 502, "destination_unavailable",
        "the upstream proxy on the way to {host} cannot be reached",
        "tell whoever runs this sandbox, which sends everything through that proxy";
    /// The upstream proxy is the sidecar itself.
    UpstreamProxyLoop = "upstream_proxy_loop", 502, "proxy_loop_detected",
        "the upstream proxy on the way to {host} is this proxy itself",
        "whoever runs this sandbox has to set another one";
    /// The certificate of an https:// upstream proxy is refused, for the reason that the message names.
    UpstreamProxyCertificate = "upstream_proxy_certificate", 502, "tls_certificate_error",
        "the upstream proxy on the way to {host} has no valid certificate",
        "if its CA is a private one, whoever runs this sandbox can add its root; the check cannot be turned off";
    /// The TLS handshake with an https:// upstream proxy failed for a reason other than its certificate.
    UpstreamProxyTls = "upstream_proxy_tls", 502, "tls_protocol_error",
        "the TLS handshake with the upstream proxy for {host} failed",
        "whoever runs this sandbox can check whether that proxy is one for https:// or for http://";
    /// The upstream proxy wants credentials, and has none, or others (407).
    UpstreamProxyAuth = "upstream_proxy_auth", 502, "proxy_configuration_error",
        "the upstream proxy on the way to {host} wants credentials",
        "whoever runs this sandbox has to set the right ones; the program in it needs none";
    /// The upstream proxy refuses the destination (403).
    UpstreamProxyDenied = "upstream_proxy_denied", 403, "http_request_denied",
        "the upstream proxy refuses {authority}",
        "this is not Sandgate's policy: whoever runs that proxy decides which hosts and ports it lets through";
    /// The upstream proxy answered with another status than 2xx, 403 and 407.
    UpstreamProxyStatus = "upstream_proxy_status", 502, "destination_unavailable",
        "the upstream proxy cannot connect to {authority}",
        "the service may be down, or unknown to that proxy; try again later";
    /// What the upstream proxy answered to CONNECT is not valid, or more than an answer, or nothing.
    UpstreamProxyProtocol = "upstream_proxy_protocol_error", 502, "http_protocol_error",
        "the upstream proxy gave no valid answer for {host}",
        "whoever runs this sandbox can check that an HTTP proxy listens there";
    /// The upstream proxy was not connected to, or did not answer, in time.
    UpstreamProxyTimeout = "upstream_proxy_timeout", 504, "connection_timeout",
        "the upstream proxy did not connect to {authority} in time",
        "the service or that proxy may be down; try again later";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
