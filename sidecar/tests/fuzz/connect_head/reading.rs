//! A plain and strict reading of what a client sends: which destinations it names. Written apart from the sidecar's code,
//! so that both have to be wrong in the same way. It stops at the first thing that it does not understand.

/// The destinations that a connection names, as canonical host and port.
pub(crate) fn destinations(mut input: &[u8]) -> Vec<(String, u16)> {
    let mut named = Vec::new();
    while let Some((head, rest)) = head(input) {
        named.extend(head.destination);
        let Some(body) = head.body else { break };
        let Some(next) = after_body(rest, body) else { break };
        input = next;
    }
    named
}

struct Head {
    /// `None` for a request that is to be refused; the next one may not be.
    destination: Option<(String, u16)>,
    /// `None` after a CONNECT: what follows cannot lead anywhere else.
    body: Option<Body>,
}

enum Body {
    Length(usize),
    Chunked,
}

fn head(mut input: &[u8]) -> Option<(Head, &[u8])> {
    // RFC 9112 2.2: empty lines before a request are passed over.
    let first = loop {
        let (line, rest) = line(input)?;
        input = rest;
        if !line.is_empty() {
            break line;
        }
    };
    let mut fields = Vec::new();
    loop {
        let (line, rest) = line(input)?;
        input = rest;
        if line.is_empty() {
            break;
        }
        fields.push(field(line)?);
    }
    Some((request(std::str::from_utf8(first).ok()?, &fields)?, input))
}

/// A line without its end: CR LF, or LF alone, which RFC 9112 2.2 lets a recipient take.
fn line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let line = &input[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &input[end + 1..]))
}

/// A field's name in lower case, and its value.
pub(crate) fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let valid = !name.is_empty() && name.chars().all(is_token);
    valid.then(|| (name.to_ascii_lowercase(), line[colon + 1..].trim_ascii()))
}

fn request(line: &str, fields: &[(String, &[u8])]) -> Option<Head> {
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    ["HTTP/1.0", "HTTP/1.1"].contains(&version).then_some(())?;
    if method == "CONNECT" {
        return Some(Head { destination: authority(target, None), body: None });
    }
    let all = |wanted: &str| fields.iter().filter(|field| field.0 == wanted).map(|field| field.1).collect::<Vec<_>>();
    let destination = absolute(target).filter(|destination| all("host").iter().all(|host| is(destination, host)));
    let body = match (&all("transfer-encoding")[..], &all("content-length")[..]) {
        ([], []) => Some(Body::Length(0)),
        ([], [length, others @ ..]) if others.iter().all(|other| other == length) => {
            Some(Body::Length(decimal(length)?))
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Some(Body::Chunked),
        // RFC 9112 6.3: one reading, and the connection ends.
        _ => None,
    };
    Some(Head { destination, body })
}

fn absolute(target: &str) -> Option<(String, u16)> {
    let (scheme, rest) = target.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    authority(&rest[..end], Some(80)).filter(|_| scheme.eq_ignore_ascii_case("http"))
}

fn is(destination: &(String, u16), host: &[u8]) -> bool {
    std::str::from_utf8(host).ok().and_then(|host| authority(host, Some(80))).as_ref() == Some(destination)
}

/// A name or a dotted IPv4 address, and a port: lower case, without the final dot.
pub(crate) fn authority(text: &str, default_port: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port)?.parse().ok()?),
        None => (text, default_port?),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (port != 0 && !host.is_empty() && host.chars().all(is_name)).then_some((host, port))
}

fn decimal(text: &[u8]) -> Option<usize> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn after_body(rest: &[u8], body: Body) -> Option<&[u8]> {
    match body {
        Body::Length(length) => rest.get(length..),
        Body::Chunked => after_chunks(rest),
    }
}

fn after_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (size, data) = line(rest)?;
        let size = std::str::from_utf8(size.split(|byte| *byte == b';').next()?).ok()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = data.get(size..)?;
        if size == 0 {
            break;
        }
        rest = rest.strip_prefix(b"\r\n")?;
    }
    // Trailers, to the empty line.
    loop {
        let (line, after) = line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some(rest);
        }
    }
}
