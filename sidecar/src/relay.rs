//! Copies two streams into each other until both have ended: opaque tunnels, and WebSockets after their 101.
//!
//! A side that ends is passed on as an end, and the other direction goes on: half-closed streams are not truncated.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::time::sleep;

use crate::enforcement::Lease;
use crate::meter::{Meter, Metered};
use crate::refusal::Code;

/// The buffer of each direction. Idle tunnels keep theirs, so it is small.
const BUFFER: usize = 8 * 1024;

/// How often it is looked within an idle time whether something moved. No byte costs a look at the clock.
const LOOKS: u32 = 4;

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why it was ended from here, or what broke; `None` where both sides had ended.
    pub code: Option<Code>,
    /// Bytes from the client to the origin.
    pub bytes_up: u64,
    /// Bytes from the origin to the client.
    pub bytes_down: u64,
}

/// Relays until both sides have ended, the lease is revoked, or nothing moved for `idle`.
pub async fn relay<C, O>(client: C, origin: O, lease: &Lease, idle: Option<Duration>) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let (meter, origin_meter) = (Arc::new(Meter::default()), Arc::new(Meter::default()));
    let mut client = Metered::new(client, Arc::clone(&meter));
    let mut origin = Metered::new(origin, Arc::clone(&origin_meter));
    let code = tokio::select! {
        biased;
        () = lease.revoked() => Some(Code::PolicyChanged),
        copied = copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER) => {
            copied.err().and_then(|_| who_broke(&meter, &origin_meter))
        }
        () = nothing_moves(&meter, idle) => Some(Code::IdleTimeout),
    };
    Ended { code, bytes_up: meter.read(), bytes_down: meter.written() }
}

/// Many clients close their socket without TLS's farewell once they have all that the origin had to say: to a relay that
/// is an error of theirs, and to everybody else an end in order.
fn who_broke(client: &Meter, origin: &Meter) -> Option<Code> {
    let has_everything = origin.has_ended() && client.written() == origin.read();
    match client.is_broken() {
        true if has_everything => None,
        true => Some(Code::ClientClosed),
        false => Some(Code::UpstreamClosed),
    }
}

/// Ends when nothing has moved for `idle`, or up to a look longer.
async fn nothing_moves(meter: &Meter, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    let (mut before, mut quiet) = ((meter.read(), meter.written()), 0);
    while quiet < LOOKS {
        sleep(idle / LOOKS).await;
        let now = (meter.read(), meter.written());
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use sandgate_policy::Policy;
    use sandgate_policy::destination::{Destination, Host, Scheme};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex, join, sink};
    use tokio::task::JoinHandle;
    use tokio::time::advance;

    use super::*;
    use crate::enforcement::{Enforcement, Grant};
    use crate::upstream::profile::Profiles;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Broken;

    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
        }
    }

    /// The meter of a stream to which `written` was written, and which was read until it ended or broke.
    async fn met(reader: impl AsyncRead + Unpin, written: &[u8]) -> Arc<Meter> {
        let meter = Arc::new(Meter::default());
        let mut stream = Metered::new(join(reader, sink()), Arc::clone(&meter));
        stream.write_all(written).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        meter
    }

    #[tokio::test]
    async fn whoever_broke_off_is_named() {
        let origin = met(&b"all"[..], b"").await;
        assert_eq!(who_broke(&*met(Broken, b"all").await, &origin), None);
        assert_eq!(who_broke(&*met(Broken, b"al").await, &origin), Some(Code::ClientClosed));
        let origin = met(Broken, b"").await;
        assert_eq!(who_broke(&*met(&b""[..], b"").await, &origin), Some(Code::UpstreamClosed));
    }

    /// The far ends of a relay over pipes, as of a WebSocket: the client's and the origin's.
    fn piped(idle: Option<Duration>) -> (DuplexStream, DuplexStream, JoinHandle<Ended>) {
        let policy = Policy::parse(b"version: 1\ndestinations: [{id: a, host: a.test}]").unwrap();
        let routes = Profiles::new(rustls::RootCertStore::empty().into()).routes(&policy).unwrap();
        let enforcement = Arc::new(Enforcement::new(policy, routes));
        let destination = Destination { scheme: Scheme::Https, host: Host::parse("a.test").unwrap(), port: 443 };
        let grant = Grant::Request { destination, method: http::Method::GET, path: "/".parse().unwrap() };
        let lease = enforcement.grant(1, grant, &Arc::default()).unwrap();
        let ((client, near), (far, origin)) = (duplex(1024), duplex(1024));
        (client, origin, tokio::spawn(async move { relay(near, far, &lease, idle).await }))
    }

    async fn passes(from: &mut DuplexStream, to: &mut DuplexStream) {
        from.write_all(b"frame").await.unwrap();
        let mut frame = [0; 5];
        to.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"frame");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_a_websocket_that_is_idle_for_four_hours() {
        let (mut client, mut origin, relayed) = piped(None);
        passes(&mut client, &mut origin).await;
        advance(4 * HOUR).await;
        passes(&mut client, &mut origin).await;
        passes(&mut origin, &mut client).await;
        assert!(!relayed.is_finished());
        drop((client, origin));
        assert_eq!(relayed.await.unwrap(), Ended { code: None, bytes_up: 10, bytes_down: 5 });
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_time_ends_a_stream_in_which_nothing_moves_and_no_other() {
        let (mut client, mut origin, relayed) = piped(Some(HOUR));
        for _ in 0..4 {
            advance(HOUR * 9 / 10).await;
            passes(&mut origin, &mut client).await;
        }
        let quiet = tokio::time::Instant::now();
        assert_eq!(relayed.await.unwrap(), Ended { code: Some(Code::IdleTimeout), bytes_up: 0, bytes_down: 20 });
        assert!((HOUR..=HOUR * 5 / 4).contains(&quiet.elapsed()), "{:?}", quiet.elapsed());
    }
}
