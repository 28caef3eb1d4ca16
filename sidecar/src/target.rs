//! Whether a request names the destination that it came for.
//!
//! Inside a tunnel the destination is that of the CONNECT, and every name in a request must agree with it: the request
//! target, `:authority`, `Host`. Nothing in a request can change where it goes.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Version};
use sandgate_policy::destination::{Authority, Destination, Scheme};

use crate::refusal::{Code, Refusal};

/// Checks a request that came through the tunnel to `destination`.
///
/// # Errors
/// 400 where a name is not one or `Host` is missing or repeated, 421 where one names another destination.
pub fn check(destination: &Destination, head: &Parts) -> Result<(), Refusal> {
    let bad = |code| Err(Refusal::new(code, destination));
    if let Some(authority) = head.uri.authority() {
        if head.uri.scheme().is_none() {
            // RFC 9112 3.2.3: it has no path that could be judged.
            let refusal = Refusal::new(Code::BadRequest, destination);
            return Err(refusal.with_detail("only CONNECT takes a request target without a path"));
        }
        agrees(destination, authority.as_str())?;
    }
    if head.uri.scheme_str().is_some_and(|scheme| scheme != destination.scheme.as_str()) {
        return bad(Code::Misdirected);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::HTTP_11 => {
            Err(Refusal::new(Code::BadRequest, destination).with_detail("HTTP/1.1 needs a Host field"))
        }
        (None, _) => Ok(()),
        (Some(host), None) => match host.to_str() {
            Ok(host) => agrees(destination, host),
            Err(_) => bad(Code::BadAuthority),
        },
        (Some(_), Some(_)) => {
            Err(Refusal::new(Code::BadRequest, destination).with_detail("there is more than one Host field"))
        }
    }
}

fn agrees(destination: &Destination, authority: &str) -> Result<(), Refusal> {
    let authority = Authority::parse(authority)
        .map_err(|problem| Refusal::new(Code::BadAuthority, destination).with_detail(&problem.to_string()))?;
    if authority.names(destination) { Ok(()) } else { Err(Refusal::new(Code::Misdirected, destination)) }
}

/// The destination of a plain request in absolute form (RFC 9112 3.2.2).
///
/// # Errors
/// 400 where the target is not an `http` URI with a valid authority.
pub fn of_absolute_form(head: &Parts) -> Result<Destination, Refusal> {
    let Some(authority) = head.uri.authority() else {
        return Err(Refusal::unreadable(Code::BadRequest)
            .with_detail("this is a proxy: the request target must be an absolute URI, or the method CONNECT"));
    };
    let authority = Authority::parse(authority.as_str())
        .map_err(|problem| Refusal::unreadable(Code::BadAuthority).with_detail(&problem.to_string()))?;
    let port = authority.port.unwrap_or(Scheme::Http.default_port());
    let destination = Destination { scheme: Scheme::Http, host: authority.host, port };
    if head.uri.scheme_str() != Some(Scheme::Http.as_str()) {
        return Err(Refusal::new(Code::BadRequest, &destination)
            .with_detail("only http URIs are taken in absolute form; for https use CONNECT"));
    }
    Ok(destination)
}

/// The destination of a CONNECT (RFC 9110 9.3.6): host and port, and no body. The scheme is settled by what follows.
///
/// # Errors
/// 400 where the target is not a host and port, or there is a body; 421 where `Host` names another host.
pub fn of_connect(head: &Parts) -> Result<Destination, Refusal> {
    let text = head.uri.authority().map_or("", |authority| authority.as_str());
    let authority = Authority::parse(text)
        .map_err(|problem| Refusal::unreadable(Code::BadAuthority).with_detail(&problem.to_string()))?;
    let Some(port) = authority.port else {
        return Err(Refusal::unreadable(Code::BadAuthority).with_detail("CONNECT needs host:port"));
    };
    let destination = Destination { scheme: Scheme::Https, host: authority.host, port };
    if announces_body(&head.headers) {
        return Err(Refusal::new(Code::BadRequest, &destination).with_detail("CONNECT has no body"));
    }
    for host in head.headers.get_all(HOST) {
        let host = host.to_str().ok().and_then(|host| Authority::parse(host).ok());
        if host.is_none_or(|host| host.host != destination.host) {
            return Err(Refusal::new(Code::Misdirected, &destination));
        }
    }
    Ok(destination)
}

/// Whether a body follows the head of an HTTP/1 request.
#[must_use]
pub fn announces_body(headers: &HeaderMap) -> bool {
    let length = headers.get(http::header::CONTENT_LENGTH);
    headers.contains_key(http::header::TRANSFER_ENCODING) || length.is_some_and(|length| length.as_bytes() != b"0")
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::Host;

    use super::*;

    fn tunnel() -> Destination {
        Destination { scheme: Scheme::Https, host: Host::parse("api.test").unwrap(), port: 443 }
    }

    fn checked(uri: &str, version: Version, hosts: &[&str]) -> Result<(), Code> {
        let mut request = http::Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&tunnel(), &head).map_err(|refusal| refusal.code)
    }

    #[test]
    fn every_name_in_a_request_must_be_that_of_the_tunnel() {
        for host in ["api.test", "API.test.", "api.test:443"] {
            assert_eq!(checked("/", Version::HTTP_11, &[host]), Ok(()), "{host}");
        }
        for host in ["evil.test", "api.test:8443", "api.test.evil.test", "127.0.0.1"] {
            assert_eq!(checked("/", Version::HTTP_11, &[host]), Err(Code::Misdirected), "{host}");
        }
        assert_eq!(checked("https://evil.test/", Version::HTTP_11, &["api.test"]), Err(Code::Misdirected));
        assert_eq!(checked("https://api.test/", Version::HTTP_11, &["evil.test"]), Err(Code::Misdirected));
        assert_eq!(checked("http://api.test:443/", Version::HTTP_11, &["api.test"]), Err(Code::Misdirected));
        assert_eq!(checked("https://api.test/", Version::HTTP_2, &[]), Ok(()));
        assert_eq!(checked("https://api.test/", Version::HTTP_2, &["evil.test"]), Err(Code::Misdirected));
    }

    #[test]
    fn a_target_without_a_path_is_refused() {
        assert_eq!(checked("api.test:443", Version::HTTP_11, &["api.test"]), Err(Code::BadRequest));
    }

    #[test]
    fn host_stands_once() {
        assert_eq!(checked("/", Version::HTTP_11, &[]), Err(Code::BadRequest));
        assert_eq!(checked("/", Version::HTTP_11, &["api.test", "api.test"]), Err(Code::BadRequest));
        assert_eq!(checked("/", Version::HTTP_10, &[]), Ok(()));
        for host in ["", "user@api.test", "api.test:0", "api.test:443x", "api test"] {
            assert_eq!(checked("/", Version::HTTP_11, &[host]), Err(Code::BadAuthority), "{host:?}");
        }
    }
}
