//! A client's connection as others see it: whether a request is running on it, and the way to end it from outside.
//!
//! hyper asks a body for nothing while the client takes nothing, so a stream that must end may not notice. Its connection
//! is severed then. Nothing here reads or writes.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Shared by a client's connection and what runs on it.
pub struct Link {
    requests: Mutex<Requests>,
    severed: AtomicBool,
    sever: Notify,
    refused: AtomicBool,
    reads: AtomicU64,
}

struct Requests {
    running: usize,
    /// How many are at [`Link::while_whole`]: two while a tunnel takes over from its CONNECT, none after an upgrade.
    serving: usize,
    any: bool,
    /// When the last one ended, or the connection began.
    quiet_since: Instant,
}

/// Held while a request runs.
pub struct Busy(Arc<Link>);

impl Default for Link {
    fn default() -> Self {
        let requests = Requests { running: 0, serving: 0, any: false, quiet_since: Instant::now() };
        Self {
            requests: Mutex::new(requests),
            severed: AtomicBool::new(false),
            sever: Notify::new(),
            refused: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        }
    }
}

impl Link {
    /// A request has begun.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut requests = self.requests();
        requests.running += 1;
        requests.any = true;
        drop(requests);
        self.refused.store(false, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether a request is running that ends when the connection is severed: one that was upgraded does not.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        let requests = self.requests();
        requests.running > 0 && requests.serving > 0
    }

    /// Ends when no request has begun within `first`, or none has been running for `idle`. The time counts from now.
    pub async fn unused(&self, first: Duration, idle: Duration) {
        self.requests().quiet_since = Instant::now();
        loop {
            let deadline = self.deadline(first, idle);
            sleep_until(deadline).await;
            if self.deadline(first, idle) <= Instant::now() {
                return;
            }
        }
    }

    fn deadline(&self, first: Duration, idle: Duration) -> Instant {
        let requests = self.requests();
        let since = if requests.running > 0 { Instant::now() } else { requests.quiet_since };
        since + if requests.any { idle } else { first }
    }

    /// The request was refused, perhaps with its body unread.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether the last request was refused, so that the client may still be sending its body.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Something was read of the client, or its end.
    pub fn note_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Ends the connection whatever it is doing.
    pub fn sever(&self) {
        self.severed.store(true, Ordering::Release);
        self.sever.notify_waiters();
    }

    /// Runs `serving` to its end, or until the connection is severed.
    pub async fn while_whole<T>(&self, serving: impl Future<Output = T>) -> Option<T> {
        let _serving = Serving::of(self);
        let severed = async {
            let notified = self.sever.notified();
            if !self.severed.load(Ordering::Acquire) {
                notified.await;
            }
        };
        tokio::select! {
            served = serving => Some(served),
            () = severed => None,
        }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held while the connection can be severed.
struct Serving<'a>(&'a Link);

impl<'a> Serving<'a> {
    fn of(link: &'a Link) -> Self {
        link.requests().serving += 1;
        Self(link)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.requests().serving -= 1;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.running -= 1;
        requests.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(900);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_unused_when_no_request_comes_and_later_when_none_runs() {
        let link = Arc::new(Link::default());
        let start = Instant::now();
        link.unused(FIRST, IDLE).await;
        assert_eq!(start.elapsed().as_secs(), 30);
        let busy = link.begin();
        let long = tokio::time::timeout(Duration::from_secs(5000), link.unused(FIRST, IDLE)).await;
        assert!(long.is_err(), "a request is running");
        drop(busy);
        let start = Instant::now();
        link.unused(FIRST, IDLE).await;
        assert_eq!(start.elapsed().as_secs(), 900);
    }

    #[tokio::test]
    async fn a_request_is_answered_while_it_runs_and_its_connection_is_served() {
        let link = Arc::new(Link::default());
        let busy = link.begin();
        assert!(!link.is_answering());
        assert_eq!(link.while_whole(async { link.is_answering() }).await, Some(true));
        assert!(!link.is_answering());
        drop(busy);
        assert_eq!(link.while_whole(async { link.is_answering() }).await, Some(false));
    }

    #[tokio::test]
    async fn a_severed_connection_ends_whether_it_is_waited_for_before_or_after() {
        let link = Arc::new(Link::default());
        assert_eq!(link.while_whole(async { 7 }).await, Some(7));
        let waiting = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.while_whole(std::future::pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        link.sever();
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(link.while_whole(std::future::pending::<()>()).await, None);
    }
}
