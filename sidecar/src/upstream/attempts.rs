//! Happy eyeballs: a TCP connection to one of several addresses, whichever answers first. Judges none of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Failure;
use super::socket::Socket;
use crate::refusal::Code;

/// The pause before the next address is tried beside the one under way (RFC 8305 5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses tried for one connection. A name with more is a misconfiguration or an attempt to make us scan.
const MAX_ATTEMPTS: usize = 16;

/// IPv6 and IPv4 in turns, IPv6 first (RFC 8305 4).
pub(super) fn in_turns(addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] || turns.len() >= MAX_ATTEMPTS {
            return turns;
        }
        turns.extend(pair.into_iter().flatten().map(|address| SocketAddr::new(address, port)));
    }
}

/// Happy eyeballs (RFC 8305 5): the next address is tried when the last one failed or [`ATTEMPT_DELAY`] has passed, and
/// the first connection wins. The first attempt has `place`; one beside it needs a place that is free now.
pub(super) async fn connect_first(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    place: OwnedSemaphorePermit,
    places: &Arc<Semaphore>,
) -> Result<(Socket, SocketAddr), Failure> {
    let mut spare = Some(place);
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last_error = None;
    let mut next_attempt = Instant::now();
    loop {
        // Not by the timer, which is late by up to a millisecond even where there is nothing to wait for.
        if waiting.len() > 0 && next_attempt <= Instant::now() {
            next_attempt = Instant::now() + ATTEMPT_DELAY;
            let place = spare.take().or_else(|| Arc::clone(places).try_acquire_owned().ok());
            if let Some(place) = place
                && let Some(address) = waiting.next()
            {
                attempts.spawn(async move { (address, place, TcpStream::connect(address).await) });
            }
        }
        tokio::select! {
            biased;
            Some(ended) = attempts.join_next() => match ended {
                Ok((address, place, Ok(stream))) => return Ok((Socket::Tcp(stream, place), address)),
                Ok((_, place, Err(error))) => {
                    spare = Some(place);
                    last_error = Some(error);
                    next_attempt = Instant::now();
                }
                Err(_) => {}
            },
            () = sleep_until(deadline) => return Err(Failure::new(Code::ConnectTimeout, "no connection in time")),
            () = sleep_until(next_attempt), if waiting.len() > 0 => {}
        }
        if attempts.is_empty() && waiting.len() == 0 {
            let error = last_error.unwrap_or_else(|| io::Error::other("no attempt was made"));
            return Err(Failure::from_io(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_ipv6_is_first() {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|text| text.parse().unwrap());
        let order: Vec<String> = in_turns(addresses.to_vec(), 443).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[2001:db8::1]:443", "192.0.2.1:443", "192.0.2.2:443"]);
    }

    #[test]
    fn a_name_with_many_addresses_is_tried_at_some_of_them_only() {
        let addresses = (0..200u8).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        assert_eq!(in_turns(addresses, 443).len(), MAX_ATTEMPTS);
    }
}
