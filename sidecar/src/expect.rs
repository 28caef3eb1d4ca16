//! `Expect: 100-continue` (RFC 9110 10.1.1): the client's body waits for the origin.
//!
//! The body is asked for when the origin says 100, when it says nothing for a while, and not at all once the final status
//! is there. hyper sends the client its own 100 when the body is first asked for.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::time::{Sleep, sleep};

const WAITING: u8 = 0;
const OPEN: u8 = 1;
const HELD: u8 = 2;
const ABANDONED: u8 = 3;

/// Stands before a request's body until the origin wants it.
pub struct Gate {
    state: AtomicU8,
    waker: AtomicWaker,
    patience: Mutex<Pin<Box<Sleep>>>,
}

/// The body is not wanted any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Abandoned;

impl Gate {
    /// A closed gate that opens by itself after `patience`: an origin need not know the expectation.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        let (state, waker) = (AtomicU8::new(WAITING), AtomicWaker::new());
        Self { state, waker, patience: Mutex::new(Box::pin(sleep(patience))) }
    }

    /// The origin said 100.
    pub fn open(&self) {
        self.step(WAITING, OPEN);
    }

    /// The final status is there: the body waits until the response is over.
    pub fn hold(&self) {
        self.step(WAITING, HELD);
    }

    /// The response is over: a body that is still waiting is not sent.
    pub fn abandon(&self) {
        self.step(WAITING, ABANDONED);
        self.step(HELD, ABANDONED);
    }

    /// Ready when the body may be sent, or never will be.
    pub fn poll_open(&self, context: &mut Context<'_>) -> Poll<Result<(), Abandoned>> {
        self.waker.register(context.waker());
        if self.state.load(Ordering::Acquire) == WAITING {
            let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
            if patience.as_mut().poll(context).is_ready() {
                self.open();
            }
        }
        match self.state.load(Ordering::Acquire) {
            OPEN => Poll::Ready(Ok(())),
            ABANDONED => Poll::Ready(Err(Abandoned)),
            _ => Poll::Pending,
        }
    }

    fn step(&self, from: u8, to: u8) {
        if self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_origin_gets_the_body_after_a_while() {
        let gate = Gate::new(Duration::from_secs(1));
        assert_eq!(poll_fn(|context| gate.poll_open(context)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_status_holds_the_body_back_and_its_end_abandons_it() {
        let gate = Arc::new(Gate::new(Duration::from_secs(1)));
        gate.hold();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { poll_fn(|context| gate.poll_open(context)).await }
        });
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!waiting.is_finished());
        gate.abandon();
        assert_eq!(waiting.await.ok(), Some(Err(Abandoned)));
    }
}
