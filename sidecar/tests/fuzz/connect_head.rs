//! The bytes of a client's connection, at the real front door over a real socket: nothing is resolved or dialled that a
//! plain and strict reading of the bytes does not name, what reaches the origin names the origin, and the connection ends.

mod reading;
mod world;

use std::cell::OnceCell;

use world::{NAME, PORT, World};

/// An answer of the sidecar's own is small; this is room for one to each of many pipelined requests.
const MAX_ANSWERED: usize = 1 << 20;

thread_local! {
    static WORLD: OnceCell<World> = const { OnceCell::new() };
}

/// Checks one input.
pub(crate) fn check(input: &[u8]) {
    WORLD.with(|world| {
        let world = world.get_or_init(World::start);
        let answer = world.exchange(input);
        assert!(answer.len() < MAX_ANSWERED, "{} bytes came back", answer.len());
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "answered with {}", answer.escape_ascii());
        let seen = world.take_seen();
        let named = world.also_named_before(reading::destinations(input));
        for name in seen.resolved {
            let allowed = name == NAME || name.ends_with(".allowed.test");
            assert!(allowed && named.iter().any(|(host, _)| *host == name), "{name} was resolved");
        }
        for dialled in seen.dialled {
            assert!(dialled == (NAME.to_owned(), PORT) && named.contains(&dialled), "{dialled:?} was dialled");
        }
        let requests = named.iter().filter(|(host, port)| host == NAME && *port == PORT).count();
        assert!(requests > 0 || seen.heads.is_empty(), "the origin got a request that nothing named");
        for head in seen.heads {
            names_the_origin(&head);
        }
    });
}

/// What an origin may get: origin form, one Host that is its own, nothing of the way to the proxy, and no byte that
/// another parser reads in another way.
fn names_the_origin(head: &[u8]) {
    let text = head.escape_ascii();
    let head = head.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("no whole head: {text}"));
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    assert_eq!(
        head.iter().filter(|byte| **byte == b'\r').count(),
        head.windows(2).filter(|two| two == b"\r\n").count()
    );
    assert!(!head.contains(&0), "a NUL: {text}");
    let first = lines.next().unwrap_or_default();
    let target = first.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    assert!(target.starts_with(b"/") || target == b"*", "not in origin form: {text}");
    let fields: Vec<(String, &[u8])> = lines.map(|line| reading::field(line).expect("each line is a field")).collect();
    let hosts: Vec<_> = fields.iter().filter(|(name, _)| name == "host").collect();
    let [(_, host)] = hosts[..] else { panic!("not one Host: {text}") };
    let named = std::str::from_utf8(host).ok().and_then(|host| reading::authority(host, None));
    assert!(named.is_some_and(|(host, port)| host == NAME && port == PORT), "another Host: {text}");
    assert!(
        !fields.iter().any(|(name, _)| ["proxy-authorization", "proxy-connection"].contains(&&**name)),
        "a field for the proxy: {text}"
    );
}
