//! What a rule allows per second and at once. Counters belong to a rule's `id`, so that a reload does not reset them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sandgate_policy::Rule;
use tokio::time::Instant;

use crate::refusal::Code;

/// The counters of every rule that has limits.
#[derive(Default)]
pub struct Limiter {
    rules: Mutex<HashMap<Arc<str>, Arc<Counters>>>,
}

#[derive(Default)]
struct Counters {
    running: AtomicU32,
    /// When the next request would be in step with the rate (the "theoretical arrival time" of GCRA).
    due: Mutex<Option<Instant>>,
}

/// A request over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which limit.
    pub code: Code,
    /// Whole seconds after which a retry makes sense.
    pub retry_after: u64,
}

/// Held while a request counts as running.
pub struct Permit(Option<Arc<Counters>>);

impl Permit {
    /// A place where nothing is counted.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// Gives the place to whoever outlives this permit; this one counts nothing then.
    #[must_use]
    pub fn hand_over(&mut self) -> Self {
        Self(self.0.take())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(counters) = &self.0 {
            counters.running.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Limiter {
    /// Admits one request under `rule` at `now`.
    ///
    /// # Errors
    /// [`Exceeded`] where the rule's rate is used up or its number of requests is running.
    pub fn admit(&self, rule: &Rule, now: Instant) -> Result<Permit, Exceeded> {
        let limits = &rule.limits;
        if limits.requests_per_second.is_none() && limits.concurrent_requests.is_none() {
            return Ok(Permit(None));
        }
        let counters = self.counters(&rule.id);
        let permit = match limits.concurrent_requests {
            None => Permit(None),
            Some(most) => {
                let admitted = counters.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
                    (running < most).then_some(running + 1)
                });
                admitted.map_err(|_| Exceeded { code: Code::TooManyRequests, retry_after: 1 })?;
                Permit(Some(Arc::clone(&counters)))
            }
        };
        if let Some(rate) = limits.requests_per_second {
            counters.take(f64::from(rate), limits.burst.unwrap_or(1).max(1), now)?;
        }
        Ok(permit)
    }

    fn counters(&self, id: &Arc<str>) -> Arc<Counters> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rules.entry(Arc::clone(id)).or_default())
    }
}

impl Counters {
    /// The generic cell rate algorithm (ITU-T I.371): a request may come at most `burst - 1` intervals early.
    fn take(&self, rate: f64, burst: u32, now: Instant) -> Result<(), Exceeded> {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let scheduled = due.unwrap_or(now).max(now);
        let early = scheduled - now;
        let tolerated = interval * (burst - 1);
        if early > tolerated {
            let wait = early - tolerated;
            return Err(Exceeded { code: Code::RateLimited, retry_after: wait.as_secs_f64().ceil().max(1.0) as u64 });
        }
        *due = Some(scheduled + interval);
        Ok(())
    }
}
