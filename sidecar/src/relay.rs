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
pub async fn relay<C, O>(client: C, mut origin: O, lease: &Lease, idle: Option<Duration>) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let meter = Arc::new(Meter::default());
    let mut client = Metered::new(client, Arc::clone(&meter));
    let code = tokio::select! {
        biased;
        () = lease.revoked() => Some(Code::PolicyChanged),
        copied = copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER) => {
            copied.err().map(|_| Code::UpstreamClosed)
        }
        () = nothing_moves(&meter, idle) => Some(Code::IdleTimeout),
    };
    Ended { code, bytes_up: meter.read(), bytes_down: meter.written() }
}

async fn nothing_moves(meter: &Meter, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    loop {
        let before = (meter.read(), meter.written());
        sleep(idle).await;
        if before == (meter.read(), meter.written()) {
            return;
        }
    }
}
