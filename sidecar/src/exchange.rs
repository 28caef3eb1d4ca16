//! One request and its response while they run: what both directions share.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::enforcement::Lease;
use crate::refusal::Code;

/// The state that the two bodies of an exchange share.
pub struct Exchange {
    /// Ends when the policy no longer allows the request.
    pub lease: Lease,
    /// When the request's head had been read.
    pub started: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    request_complete: AtomicBool,
    too_large: AtomicBool,
    request_fault: OnceLock<Code>,
    /// How many bodies of the request there are: two for a moment where it is sent again.
    uploads: AtomicUsize,
    upload_stopped: AtomicBool,
    /// Who waits for the end of the upload.
    after_upload: AtomicWaker,
}

impl Exchange {
    /// Begins an exchange now.
    #[must_use]
    pub fn new(lease: Lease, started: Instant) -> Self {
        Self {
            lease,
            started,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            request_complete: AtomicBool::new(false),
            too_large: AtomicBool::new(false),
            request_fault: OnceLock::new(),
            uploads: AtomicUsize::new(0),
            upload_stopped: AtomicBool::new(false),
            after_upload: AtomicWaker::new(),
        }
    }

    /// Body bytes went to the origin.
    pub fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress();
    }

    /// Body bytes came from the origin.
    pub fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress();
    }

    /// Body bytes to and from the origin so far.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// Something moved.
    pub fn progress(&self) {
        self.lease.progress();
    }

    /// The request's body has been read to its end.
    pub fn complete_request(&self) {
        self.request_complete.store(true, Ordering::Release);
        self.after_upload.wake();
    }

    /// Whether the request's body has been read to its end.
    #[must_use]
    pub fn is_request_complete(&self) -> bool {
        self.request_complete.load(Ordering::Acquire)
    }

    /// The request's body went over the rule's limit.
    pub fn exceed_limit(&self) {
        self.too_large.store(true, Ordering::Release);
    }

    /// Whether the request's body went over the rule's limit.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Acquire)
    }

    /// The client broke off the request's body, or sent one that is not valid.
    pub fn fail_request(&self, code: Code) {
        // The first fault is the cause of any other.
        let _ = self.request_fault.set(code);
    }

    /// What the client did wrong with the request's body, if it did.
    #[must_use]
    pub fn request_fault(&self) -> Option<Code> {
        self.request_fault.get().copied()
    }

    /// Nothing of the request's body goes to the origin any more.
    pub fn stop_upload(&self) {
        self.upload_stopped.store(true, Ordering::Release);
    }

    /// Whether nothing of the request's body may go to the origin any more.
    #[must_use]
    pub fn is_upload_stopped(&self) -> bool {
        self.upload_stopped.load(Ordering::Acquire)
    }

    /// Ends when the request's body has been read to its end, or nobody reads it any more. One task may wait.
    pub async fn upload_ended(&self) {
        let ended = || self.is_request_complete() || self.uploads.load(Ordering::Acquire) == 0;
        std::future::poll_fn(|context| {
            self.after_upload.register(context.waker());
            if ended() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn idle_deadline(&self, limit: Duration) -> Instant {
        self.lease.moved_at() + limit
    }
}

/// A request body's share in its exchange: while there is one, the upload has not ended.
pub struct Upload(Arc<Exchange>);

impl Upload {
    /// Begins an upload.
    #[must_use]
    pub fn of(exchange: Arc<Exchange>) -> Self {
        exchange.uploads.fetch_add(1, Ordering::AcqRel);
        Self(exchange)
    }
}

impl Deref for Upload {
    type Target = Arc<Exchange>;

    fn deref(&self) -> &Arc<Exchange> {
        &self.0
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.uploads.fetch_sub(1, Ordering::AcqRel);
        self.0.after_upload.wake();
    }
}

/// Finds out that an exchange carries nothing. Costs a timer only while one side waits.
pub struct IdleTimer {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    /// Fires when neither direction has carried anything for `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// A timer with the same limit.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(self.limit)
    }

    /// Ready when neither direction of `exchange` has carried anything for the limit.
    pub fn poll_expired(&mut self, exchange: &Exchange, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(exchange.idle_deadline(limit))));
        while sleep.as_mut().poll(context).is_ready() {
            let deadline = exchange.idle_deadline(limit);
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Ends when neither direction of `exchange` has carried anything for the limit.
    pub async fn expired(&mut self, exchange: &Exchange) {
        std::future::poll_fn(|context| self.poll_expired(exchange, context)).await;
    }
}
