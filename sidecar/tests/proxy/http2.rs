//! HTTP/2 towards clients that misuse it, frame by frame: each ends in a refusal or GOAWAY, with bounded memory.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use http::Request;
use sandgate_testkit::client::{Client, empty_body, read};
use sandgate_testkit::origin::Origin;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{DEADLINE, Setup, beside_http1};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How much the sidecar may grow under any of these attacks, in KiB: one tunnel's buffers and the allocator's slack.
const GROWTH: u64 = 16 << 10;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as an HPACK literal without indexing (RFC 7541 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A string of HPACK without Huffman coding, its length as an integer of 7 bits and more (RFC 7541 5.1, 5.2).
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if text.len() < 127 {
        bytes.push(u8::try_from(text.len()).unwrap());
    } else {
        bytes.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend(text.as_bytes());
    bytes
}

fn request(origin: &Origin, method: &str, path: &str) -> Vec<u8> {
    let authority = format!("origin.test:{}", origin.port());
    [field(":method", method), field(":scheme", "https"), field(":authority", &authority), field(":path", path)]
        .concat()
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind: head[3], stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]), payload })
}

/// Writes all of it, and meanwhile reads frames until one is the `last`, or the connection ends.
async fn exchange<S>(stream: S, bytes: Vec<u8>, last: impl Fn(&Frame) -> bool) -> Vec<Frame>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        // The sidecar may close in the middle; what it said shows in the frames.
        let _ = writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &bytes].concat()).await;
        let _ = writer.flush().await;
        writer
    });
    let mut frames = Vec::new();
    let ended = timeout(DEADLINE, async {
        while let Some(frame) = read_frame(&mut reader).await {
            let done = last(&frame);
            frames.push(frame);
            if done {
                return;
            }
        }
    });
    assert!(
        ended.await.is_ok(),
        "neither refused nor closed; it said {:?}",
        frames.iter().map(|f| f.kind).collect::<Vec<_>>()
    );
    writing.abort();
    frames
}

async fn attack(setup: &Setup, origin: &Origin, bytes: Vec<u8>, last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    setup.serves(origin).await;
    let before = setup.sidecar.rss_kib();
    let frames = exchange(setup.intercepted(origin, &["h2"]).await, bytes, last).await;
    let grown = setup.sidecar.peak_rss_kib().saturating_sub(before);
    assert!(grown < GROWTH, "the sidecar grew by {grown} KiB");
    setup.serves(origin).await;
    frames
}

fn is_goaway(frame: &Frame) -> bool {
    frame.kind == GOAWAY
}

/// The HPACK static index of the status that a HEADERS frame begins with is not enough for 431, which is a literal.
fn has_status(frame: &Frame, status: &str) -> bool {
    frame.kind == HEADERS && (frame.payload.windows(3).any(|text| text == status.as_bytes()) || huffman(frame, status))
}

/// Digits in HPACK's Huffman code are 5 bits for 0 to 2 and 6 bits for 3 to 9 (RFC 7541 B).
fn huffman(frame: &Frame, status: &str) -> bool {
    let mut bits = String::new();
    for digit in status.bytes().map(|digit| digit - b'0') {
        bits += &if digit < 3 { format!("{digit:05b}") } else { format!("{:06b}", digit + 0x16) };
    }
    let padded = bits.len().div_ceil(8) * 8;
    bits.extend(std::iter::repeat_n('1', padded - bits.len()));
    let coded: Vec<u8> = (0..padded / 8).map(|at| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2).unwrap()).collect();
    frame.payload.windows(coded.len()).any(|window| window == coded)
}

#[tokio::test]
async fn a_rapid_reset_ends_in_goaway() {
    let (origin, setup) = beside_http1().await;
    let head = request(&origin, "GET", "/stall-head");
    let storm = (0..20_000_u32).flat_map(|number| {
        let stream = number * 2 + 1;
        let headers = frame(HEADERS, END_STREAM | END_HEADERS, stream, &head);
        [headers, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    let frames = attack(&setup, &origin, storm.collect(), is_goaway).await;
    assert!(frames.iter().any(is_goaway));
    assert!(origin.connections().len() < 2_000, "{} connections", origin.connections().len());
}

#[tokio::test]
async fn a_flood_of_continuations_ends_in_goaway() {
    let (origin, setup) = beside_http1().await;
    let piece = field("x-flood", &"a".repeat(1000)).repeat(16);
    let head = frame(HEADERS, END_STREAM, 1, &request(&origin, "GET", "/flooded"));
    let flood = [head, frame(CONTINUATION, 0, 1, &piece).repeat(2000)].concat();
    let frames = attack(&setup, &origin, flood, is_goaway).await;
    assert!(frames.iter().any(is_goaway));
    assert!(origin.requests().iter().all(|seen| seen.head.path() != "/flooded"));
}

#[tokio::test]
async fn a_flood_of_empty_continuations_ends_in_goaway() {
    let (origin, setup) = beside_http1().await;
    let head = frame(HEADERS, END_STREAM, 1, &request(&origin, "GET", "/flooded"));
    let flood = [head, frame(CONTINUATION, 0, 1, &[]).repeat(100_000)].concat();
    assert!(attack(&setup, &origin, flood, is_goaway).await.iter().any(is_goaway));
}

#[tokio::test]
async fn an_hpack_bomb_is_refused() {
    let (origin, setup) = beside_http1().await;
    // One entry of 4,000 bytes in the dynamic table, then 16,000 references of one byte each: 64 MB when unpacked.
    let entry = [&[0x40][..], &text("x-bomb"), &text(&"a".repeat(3900))].concat();
    let bomb = [request(&origin, "GET", "/bomb"), entry, vec![0x80 | 62; 12_000]].concat();
    assert!(bomb.len() <= 16_384, "one frame");
    let bomb = frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb);
    let refused = |frame: &Frame| is_goaway(frame) || frame.kind == RST_STREAM || frame.kind == HEADERS;
    let frames = attack(&setup, &origin, bomb, refused).await;
    let last = frames.last().unwrap();
    assert!(is_goaway(last) || last.kind == RST_STREAM || has_status(last, "431"), "{last:?}");
    assert!(origin.requests().iter().all(|seen| seen.head.path() != "/bomb"));
}

#[tokio::test]
async fn extended_connect_is_refused_by_its_stream_alone() {
    let (origin, setup) = beside_http1().await;
    let websocket = [request(&origin, "CONNECT", "/ws"), field(":protocol", "websocket")].concat();
    let bytes = [
        frame(HEADERS, END_HEADERS, 1, &websocket),
        frame(HEADERS, END_STREAM | END_HEADERS, 3, &request(&origin, "GET", "/zen")),
    ];
    let stream = setup.intercepted(&origin, &["h2"]).await;
    let frames =
        exchange(stream, bytes.concat(), |frame| is_goaway(frame) || (frame.kind, frame.stream) == (HEADERS, 3)).await;
    assert!(!frames.iter().any(is_goaway), "{frames:?}");
    // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 3) is not offered.
    let settings = frames.iter().find(|frame| frame.kind == SETTINGS).unwrap();
    assert!(settings.payload.chunks(6).all(|setting| setting[..2] != [0, 8]), "{settings:?}");
    let refused = |frame: &&Frame| frame.stream == 1 && matches!(frame.kind, RST_STREAM | HEADERS);
    let refusal = frames.iter().find(refused).expect("the stream is answered");
    assert!(refusal.kind == RST_STREAM || !has_status(refusal, "200"), "{refusal:?}");
    assert!(origin.requests().iter().all(|seen| seen.head.path() == "/zen"));
}

#[tokio::test]
async fn no_more_streams_than_the_limit_are_open_at_once() {
    let (origin, setup) = beside_http1().await;
    let head = request(&origin, "POST", "/upload");
    let open: Vec<u8> = (0..201_u32).flat_map(|number| frame(HEADERS, END_HEADERS, number * 2 + 1, &head)).collect();
    let stream = setup.intercepted(&origin, &["h2"]).await;
    let frames = exchange(stream, open, |frame| is_goaway(frame) || frame.kind == RST_STREAM).await;
    let settings = frames.iter().find(|frame| frame.kind == SETTINGS).unwrap();
    let limit = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit of streams");
    assert_eq!(limit[2..], 200_u32.to_be_bytes());
    let last = frames.last().unwrap();
    assert!(is_goaway(last) || last.stream == 401, "{last:?}");
    setup.serves(&origin).await;
}

#[tokio::test]
async fn a_head_with_too_many_fields_is_431() {
    let (origin, setup) = beside_http1().await;
    for count in [200, 1000] {
        let mut client = Client::over_tls(setup.intercepted(&origin, &["h2"]).await).await.unwrap();
        let mut request = Request::get(format!("https://origin.test:{}/zen", origin.port()));
        for number in 0..count {
            request = request.header(format!("x-{number}"), "a");
        }
        let answer = read(client.send(request.body(empty_body()).unwrap()).await.unwrap()).await.unwrap();
        assert_eq!(answer.status, 431, "{count}");
    }
    assert_eq!(origin.request_count(), 0);
}

#[tokio::test]
async fn malformed_heads_reset_their_stream_and_reach_nobody() {
    let (origin, setup) = beside_http1().await;
    let good = request(&origin, "GET", "/zen");
    let with = |name: &str, value: &str| [good.clone(), field(name, value)].concat();
    let no_path = [field(":method", "GET"), field(":scheme", "https"), field(":authority", "origin.test")].concat();
    for (what, head) in [
        ("connection", with("connection", "x-hop")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("upper case", with("X-Upper", "1")),
        ("line feed", with("x-split", "a\r\nx-b: 1")),
        ("nul", with("x-nul", "a\0b")),
        ("two paths", with(":path", "/hidden")),
        ("unknown pseudo field", with(":unknown", "1")),
        ("te", with("te", "gzip")),
        ("no path", no_path),
    ] {
        let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, &head);
        let stream = setup.intercepted(&origin, &["h2"]).await;
        let answered = |frame: &Frame| is_goaway(frame) || matches!(frame.kind, RST_STREAM | HEADERS);
        let frames = exchange(stream, bytes, answered).await;
        let last = frames.last().unwrap_or_else(|| panic!("{what}: closed without a word"));
        assert!(is_goaway(last) || last.kind == RST_STREAM || has_status(last, "400"), "{what}: {last:?}");
    }
    assert_eq!(origin.request_count(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_is_not_passed_on_whole() {
    let (origin, setup) = beside_http1().await;
    let head = [request(&origin, "POST", "/echo"), field("content-length", "5")].concat();
    for data in [Some(&b"hello and more"[..]), Some(b"hi"), Some(b""), None] {
        let bytes = match data {
            Some(data) => [frame(HEADERS, END_HEADERS, 1, &head), frame(0, END_STREAM, 1, data)].concat(),
            None => frame(HEADERS, END_STREAM | END_HEADERS, 1, &head),
        };
        let stream = setup.intercepted(&origin, &["h2"]).await;
        let answered = |frame: &Frame| is_goaway(frame) || matches!(frame.kind, RST_STREAM | HEADERS);
        let frames = exchange(stream, bytes, answered).await;
        assert!(frames.last().is_some_and(|last| !has_status(last, "200")), "{frames:?}");
    }
    setup.serves(&origin).await;
    assert!(origin.requests().iter().all(|seen| seen.head.path() == "/zen" || seen.body_sha256.is_none()));
}

#[tokio::test]
async fn floods_of_pings_and_settings_take_no_memory() {
    let (origin, setup) = beside_http1().await;
    let ask = frame(HEADERS, END_STREAM | END_HEADERS, 1, &request(&origin, "GET", "/zen"));
    for flood in [frame(6, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])] {
        let bytes = [flood.repeat(50_000), ask.clone()].concat();
        let ended = |frame: &Frame| is_goaway(frame) || (frame.kind, frame.stream) == (HEADERS, 1);
        attack(&setup, &origin, bytes, ended).await;
    }
}

#[tokio::test]
async fn a_body_without_a_length_arrives_whatever_the_method() {
    let (origin, setup) = beside_http1().await;
    for method in ["GET", "POST"] {
        let head = frame(HEADERS, END_HEADERS, 1, &request(&origin, method, "/echo"));
        let bytes = [head, frame(0, END_STREAM, 1, b"hello")].concat();
        let stream = setup.intercepted(&origin, &["h2"]).await;
        exchange(stream, bytes, |frame| is_goaway(frame) || frame.kind == HEADERS).await;
        assert_eq!(origin.requests().pop().unwrap().body_bytes, 5, "{method}");
    }
}
