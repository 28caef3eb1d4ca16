//! Names as Kubernetes and container registries take them. Nothing is looked up.

/// The longest name of an object (RFC 1123 with Kubernetes' bound).
const MAX_SUBDOMAIN: usize = 253;
/// The longest label of a name (RFC 1123, 2.1).
const MAX_LABEL: usize = 63;
/// The longest repository, its registry included (github.com/distribution/reference, `NameTotalLengthMax`).
const MAX_REPOSITORY: usize = 255;

/// A DNS label: the name of a container, a volume, a namespace.
///
/// # Errors
/// What was expected.
pub(crate) fn label(text: &str) -> Result<String, String> {
    let expected = "a name of at most 63 of a-z, 0-9 and -, a letter or digit first and last";
    if is_label(text) { Ok(text.to_owned()) } else { Err(format!("{text:?} is not {expected}")) }
}

/// A DNS subdomain: the name of a Secret, a ConfigMap, a pod.
///
/// # Errors
/// What was expected.
pub(crate) fn subdomain(text: &str) -> Result<String, String> {
    let expected = "a name of at most 253 of a-z, 0-9, - and ., a letter or digit first and last in each part";
    let sound = text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_label_of_any_length);
    if sound { Ok(text.to_owned()) } else { Err(format!("{text:?} is not {expected}")) }
}

/// The name of a Service, which begins with a letter (RFC 1035).
pub(super) fn service(text: &str) -> Result<String, String> {
    let name = label(text)?;
    let sound = name.starts_with(|first: char| first.is_ascii_lowercase());
    if sound { Ok(name) } else { Err(format!("{text:?} is not the name of a Service, which begins with a letter")) }
}

fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && is_label_of_any_length(text)
}

fn is_label_of_any_length(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    let inside = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inside)
}

/// An image: `[REGISTRY[:PORT]/]PATH[:TAG][@sha256:DIGEST]` (github.com/distribution/reference).
pub(super) fn image(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{text:?} is not an image: {why}"));
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return wrong("behind @ stands sha256: and 64 of 0-9 and a-f");
    }
    // A colon behind the last slash is a tag's; before it, a port's.
    let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[path_start..].split_once(':') {
        Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], Some(tag)),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return wrong("a tag is 1 to 128 letters, digits, _, - and ., neither - nor . first");
    }
    let path = match name.split_once('/') {
        Some((first, path)) if is_registry_like(first) => {
            if !is_registry(first) {
                return wrong("the registry is no host with or without a port");
            }
            path
        }
        _ => name,
    };
    if name.len() > MAX_REPOSITORY || !path.split('/').all(is_path_component) {
        return wrong("write it as in registry.example.com/team/sidecar:1.2.3, in lower case");
    }
    Ok(text.to_owned())
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_tag(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=128).contains(&text.len()) && !text.starts_with(['-', '.']) && text.bytes().all(inside)
}

/// The first part is a registry when it can't be a part of a path on Docker Hub.
fn is_registry_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '[']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((v6, rest)) = rest.split_once(']') else { return false };
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, rest.strip_prefix(':').or((!rest.is_empty()).then_some("")))
        }
        None => text.split_once(':').map_or((Some(text), None), |(host, port)| (Some(host), Some(port))),
    };
    let port_is_sound = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    port_is_sound && host.is_none_or(|host| subdomain(&host.to_ascii_lowercase()).is_ok())
}

/// Lower-case letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let words = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|gap| !gap.is_empty());
    let sound = |gap: &str| matches!(gap, "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends(text.chars().next()) && ends(text.chars().last()) && words.into_iter().all(sound)
}
