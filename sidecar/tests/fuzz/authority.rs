//! The text of an authority: whatever is taken for one has exactly one form.

use sandgate_policy::destination::{Authority, Host};

/// Checks one input.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parsed = Authority::parse(text);
    assert_eq!(Authority::parse(&text.to_ascii_uppercase()), parsed, "upper case means the same");
    let Ok(authority) = parsed else { return };
    refuses_what_no_authority_has(text);
    assert_eq!(Host::parse(&authority.host.to_string()).as_ref(), Ok(&authority.host), "a printed host is the same");
    assert_eq!(Authority::parse(&print(&authority)).as_ref(), Ok(&authority), "a printed authority is the same");
    assert_eq!(naive_port(text), authority.port, "the port is what stands behind the last colon");
    if let Some(name) = authority.host.name() {
        is_canonical(name);
        assert_eq!(Host::parse(&format!("{name}.")).as_ref(), Ok(&authority.host), "a final dot means the same");
    }
}

fn print(authority: &Authority) -> String {
    let Authority { host, port } = authority;
    port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

fn refuses_what_no_authority_has(text: &str) {
    let strange = |c: char| c.is_ascii_control() || c == ' ' || "@%/\\?#<>^|*".contains(c);
    assert!(!text.contains(strange), "userinfo, encodings, delimiters and controls are no part of an authority");
}

/// The canonical alphabet and lengths (RFC 1035 3.1), written down a second time.
fn is_canonical(name: &str) {
    assert!(!name.is_empty() && name.len() <= 253, "{name}");
    assert!(name.bytes().all(|byte| b"abcdefghijklmnopqrstuvwxyz0123456789-_.".contains(&byte)), "{name}");
    assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name}");
    assert!(name.parse::<std::net::IpAddr>().is_err(), "{name} is an address, not a name");
}

fn naive_port(text: &str) -> Option<u16> {
    let (_, port) = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'))?;
    Some(port.parse().expect("a port is a number"))
}
