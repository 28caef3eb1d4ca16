//! The first bytes of a passthrough tunnel: the name is the one that rustls reads, however the records are cut.

use std::net::IpAddr;

use rustls::server::Acceptor;
use sandgate_sidecar::passthrough::{client_hello_message, parse_client_hello};

/// Checks one input.
pub(crate) fn check(input: &[u8]) {
    let Ok(Some(message)) = client_hello_message(input) else { return };
    does_not_depend_on_what_follows(input, &message);
    does_not_depend_on_records(input, &message);
    let ours = parse_client_hello(&message);
    let Some(theirs) = rustls_reads(input) else { return };
    match (ours.map(|hello| hello.server_name), theirs) {
        // Stricter than rustls is safe: the tunnel is closed.
        (Err(_), _) | (Ok(None), None) => {}
        (Ok(Some(ours)), Some(theirs)) => assert!(ours.eq_ignore_ascii_case(&theirs), "{ours:?} is {theirs:?}"),
        // rustls passes over an address; the sidecar refuses it as no host of a passthrough.
        (Ok(Some(ours)), None) => assert!(ours.parse::<IpAddr>().is_ok(), "rustls sees no {ours:?}"),
        (Ok(None), Some(theirs)) => panic!("{theirs:?} was not seen"),
    }
}

/// A message that was whole stays what it was, and a shorter input never has another one.
fn does_not_depend_on_what_follows(input: &[u8], message: &[u8]) {
    let longer = [input, b"\x17\x03\x03\x00\x01x"].concat();
    assert_eq!(client_hello_message(&longer).ok().flatten().as_deref(), Some(message));
    let step = input.len() / 16 + 1;
    for end in (0..input.len()).step_by(step) {
        let shorter = client_hello_message(&input[..end]).expect("the beginning of what is taken is not refused");
        assert!(shorter.is_none_or(|shorter| shorter == message), "the first {end} bytes have another message");
    }
}

/// The same message in records of other lengths (RFC 8446 5.1): of one byte, of a few, and of lengths from the input.
fn does_not_depend_on_records(input: &[u8], message: &[u8]) {
    let lengths: [&mut dyn Iterator<Item = usize>; 3] = [
        &mut std::iter::repeat(1),
        &mut std::iter::repeat(1 << 10),
        &mut input.iter().cycle().map(|byte| usize::from(*byte) + 1),
    ];
    for lengths in lengths {
        let records = cut(message, lengths);
        assert_eq!(client_hello_message(&records).ok().flatten().as_deref(), Some(message));
    }
}

fn cut(mut message: &[u8], lengths: &mut dyn Iterator<Item = usize>) -> Vec<u8> {
    let mut records = Vec::new();
    while !message.is_empty() {
        let length = lengths.next().unwrap_or(1).min(message.len());
        let (fragment, rest) = message.split_at(length);
        records.extend_from_slice(&[22, 3, 1]);
        records.extend_from_slice(&u16::try_from(length).expect("a fragment fits a record").to_be_bytes());
        records.extend_from_slice(fragment);
        message = rest;
    }
    records
}

/// What rustls takes for the server name: `None` where it refuses the whole, `Some(None)` where there is no name.
#[expect(clippy::option_option, reason = "refused and absent are two things")]
fn rustls_reads(input: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    let mut rest = input;
    while acceptor.read_tls(&mut rest).ok()? > 0 {
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
    }
    None
}
