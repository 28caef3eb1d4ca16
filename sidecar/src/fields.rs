//! Header fields on their way through: which end here, and how a head changes between HTTP versions.
//!
//! Everything that is not hop-by-hop (RFC 9110 7.6.1) goes on as it came.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri, Version};
use sandgate_policy::destination::Destination;

use crate::refusal::{Code, Refusal};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields that are about one connection, whether `Connection` names them or not. `TE` is treated apart.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

/// Fields that frame or route a message: `Connection` must not name them, since dropping one changes what is understood.
const NEVER_DROPPED: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// Removes what is about the client's connection from a request. `te: trailers` stays: it says that the client takes
/// trailers, which gRPC needs.
///
/// # Errors
/// 400 where `Connection` names a field that frames or routes the message, or can't be read; and where the body is in
/// another transfer coding than `chunked`, which nobody would undo (RFC 9112 6.1).
pub fn remove_hop_by_hop(headers: &mut HeaderMap, destination: &Destination) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings
        .next()
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        let refusal = Refusal::new(Code::BadRequest, destination);
        return Err(refusal.with_detail("the only Transfer-Encoding that is taken is one chunked"));
    }
    let takes_trailers = headers.get_all(TE).iter().any(|te| lists(te, "trailers"));
    let named = named_by_connection(headers).ok_or_else(|| {
        Refusal::new(Code::BadRequest, destination).with_detail("the Connection field is not a list of field names")
    })?;
    for name in named {
        if NEVER_DROPPED.contains(&name.as_str()) {
            let detail = format!("Connection must not name {name}");
            return Err(Refusal::new(Code::BadRequest, destination).with_detail(&detail));
        }
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    one_length(headers, destination)?;
    headers.remove(TE);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// Equal lengths become one (RFC 9112 6.3); HTTP/2 lets several through.
fn one_length(headers: &mut HeaderMap, destination: &Destination) -> Result<(), Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(()) };
    if lengths.any(|length| *length != first) {
        return Err(Refusal::new(Code::BadRequest, destination).with_detail("Content-Length is there with two values"));
    }
    headers.insert(CONTENT_LENGTH, first);
    Ok(())
}

/// Removes what is about the origin's connection from a response. Origins are tolerated: what can't be read is dropped, and
/// so is a length beside a coding, which says something else of the body and does not count (RFC 9112 6.3).
pub fn clean_response(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in named_by_connection(headers).unwrap_or_default() {
        if !NEVER_DROPPED.contains(&name.as_str()) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The fields that `Connection` names, or nothing where its value is not a list of names.
fn named_by_connection(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            named.push(HeaderName::from_bytes(name.as_bytes()).ok()?);
        }
    }
    Some(named)
}

/// Whether a comma-separated value has the token, whatever its case and parameters.
pub fn lists(value: &HeaderValue, token: &str) -> bool {
    let matches = |item: &str| item.split(';').next().is_some_and(|item| item.trim().eq_ignore_ascii_case(token));
    value.to_str().is_ok_and(|value| value.split(',').any(matches))
}

/// Whether a request is one of gRPC, which needs HTTP/2 end to end. gRPC-Web is none: it goes over any version.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The announced length of a body, in bytes.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The text of the authority that a request came with, which its destination was checked against. It goes on as it came,
/// since clients sign it.
#[must_use]
pub fn authority_as_sent(uri: &Uri, headers: &HeaderMap, destination: &Destination) -> HeaderValue {
    let sent = headers.get(HOST).cloned();
    let sent = sent.or_else(|| HeaderValue::from_str(uri.authority()?.as_str()).ok());
    sent.unwrap_or_else(|| HeaderValue::from_str(&destination.to_string()).expect("a canonical host is ASCII"))
}

/// Gives a head the form of HTTP/1.1: origin form, `Host`, one `Cookie` field (RFC 9113 8.2.3).
pub fn to_http1<B>(request: &mut Request<B>, authority: &HeaderValue) {
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = Uri::from(path_and_query(request.uri()));
    let headers = request.headers_mut();
    if !headers.contains_key(HOST) {
        headers.insert(HOST, authority.clone());
    }
    if headers.contains_key(TE) {
        // RFC 9110 10.1.4: on one connection only, so Connection names it.
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    join_cookies(headers);
}

fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1 {
        let joined = cookies.join(&b"; "[..]);
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Gives a head the form of HTTP/2: `:scheme` and `:authority`, no `Host`, no fields of a connection.
pub fn to_http2<B>(request: &mut Request<B>, destination: &Destination, authority: &HeaderValue) {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    request.headers_mut().remove(TRANSFER_ENCODING);
    let uri = Uri::builder()
        .scheme(destination.scheme.as_str())
        .authority(authority.as_bytes())
        .path_and_query(path_and_query(request.uri()))
        .build();
    // Every part was parsed before, so the build can't fail; the canonical authority is the safe fallback.
    if let Ok(uri) = uri {
        *request.uri_mut() = uri;
    }
}

/// The path and query as they came; an empty path is `/` (RFC 9110 4.2.3), which `http` reads so but does not write.
fn path_and_query(uri: &Uri) -> PathAndQuery {
    let root = || PathAndQuery::from_static("/");
    match uri.path_and_query() {
        Some(sent) if sent.as_str() == "/" => root(),
        Some(sent) if sent.as_str().starts_with(['/', '*']) => sent.clone(),
        Some(sent) => PathAndQuery::try_from(format!("/{}", sent.as_str())).unwrap_or_else(|_| root()),
        None => root(),
    }
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::{Host, Scheme};

    use super::*;

    fn destination() -> Destination {
        Destination { scheme: Scheme::Https, host: Host::parse("api.test").unwrap(), port: 443 }
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        pairs.fold(HeaderMap::new(), |mut headers, (name, value): (HeaderName, HeaderValue)| {
            headers.append(name, value);
            headers
        })
    }

    #[test]
    fn what_connection_names_ends_here() {
        let mut sent = headers(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("x-end", "2"),
            ("proxy-authorization", "Basic c2VjcmV0"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
            ("te", "trailers, deflate"),
        ]);
        remove_hop_by_hop(&mut sent, &destination()).unwrap();
        assert_eq!(sent, headers(&[("x-end", "2"), ("te", "trailers")]));
    }

    #[test]
    fn connection_must_not_name_what_frames_a_message() {
        for name in ["host", "Content-Length", "transfer-encoding"] {
            let mut sent = headers(&[("connection", name)]);
            let refusal = remove_hop_by_hop(&mut sent, &destination()).unwrap_err();
            assert_eq!(refusal.code, Code::BadRequest, "{name}");
        }
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        let refused = |fields: &[(&str, &str)]| remove_hop_by_hop(&mut headers(fields), &destination()).is_err();
        assert!(!refused(&[("transfer-encoding", "Chunked")]));
        for coding in ["gzip, chunked", "chunked, chunked", "identity"] {
            assert!(refused(&[("transfer-encoding", coding)]), "{coding}");
        }
        assert!(refused(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]));
    }

    #[test]
    fn a_length_beside_a_transfer_coding_is_not_handed_on() {
        let mut sent = headers(&[("transfer-encoding", "chunked"), ("content-length", "4"), ("etag", "1")]);
        clean_response(&mut sent);
        assert_eq!(sent, headers(&[("etag", "1")]));
        let mut sent = headers(&[("content-length", "4")]);
        clean_response(&mut sent);
        assert_eq!(sent, headers(&[("content-length", "4")]));
    }

    #[test]
    fn cookies_are_one_field_in_http_1() {
        let mut request = Request::new(());
        *request.headers_mut() = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        to_http1(&mut request, &HeaderValue::from_static("api.test"));
        assert_eq!(request.headers(), &headers(&[("cookie", "a=1; b=2"), ("host", "api.test")]));
    }

    #[test]
    fn an_empty_path_is_written_as_a_slash() {
        for (sent, written) in [
            ("https://api.test", "/"),
            ("https://api.test#/x", "/"),
            ("https://api.test?q=1", "/?q=1"),
            ("https://api.test/a?q", "/a?q"),
        ] {
            let mut request = Request::builder().uri(sent).body(()).unwrap();
            to_http1(&mut request, &HeaderValue::from_static("api.test"));
            assert_eq!(request.uri(), written, "{sent}");
        }
    }

    #[test]
    fn a_call_of_grpc_is_told_by_its_content_type_and_grpc_web_is_none() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            assert_eq!(
                is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])),
                expected,
                "{kind}"
            );
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn lengths_that_agree_become_one_and_others_are_refused() {
        let mut sent = headers(&[("content-length", "5"), ("content-length", "5")]);
        remove_hop_by_hop(&mut sent, &destination()).unwrap();
        assert_eq!(sent, headers(&[("content-length", "5")]));
        let mut sent = headers(&[("content-length", "5"), ("content-length", "6")]);
        assert_eq!(remove_hop_by_hop(&mut sent, &destination()).unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn a_head_can_go_to_either_version_and_back() {
        let authority = HeaderValue::from_static("API.test:443");
        let mut request = Request::builder().uri("/a%2Fb?q=1").header(HOST, "API.test:443").body(()).unwrap();
        to_http2(&mut request, &destination(), &authority);
        assert_eq!(request.uri(), "https://API.test:443/a%2Fb?q=1");
        assert!(!request.headers().contains_key(HOST));
        to_http1(&mut request, &authority);
        assert_eq!(request.uri(), "/a%2Fb?q=1");
        assert_eq!(request.headers()[HOST], "API.test:443");
    }
}
