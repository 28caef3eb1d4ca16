//! Whether the sidecar is ready, and every reason why not, in words. The workload can read them, so they hold no secret.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use serde::Serialize;

/// How many errors of a policy file are listed; the log has all of them.
const MAX_POLICY_ERRORS: usize = 20;

/// What `/readyz` reports, set by those who load, reload and drain. Shared in an `Arc`.
#[derive(Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The digest of the policy in force.
    policy: Option<String>,
    policy_errors: Vec<String>,
    ca: bool,
    /// That the CA ends soon, or has ended.
    ca_end: Option<String>,
    ca_error: Option<String>,
    draining: bool,
}

impl Health {
    /// Not ready: neither policy nor CA are loaded.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A good policy is in force; what was wrong before is forgotten.
    pub fn policy_loaded(&self, digest: &str) {
        let mut state = self.state();
        state.policy = Some(digest.to_owned());
        state.policy_errors.clear();
    }

    /// A policy was refused for `errors`, one sentence each. The last good one stays in force, and the sidecar stays
    /// ready; where there was none yet, everything is refused and it is not.
    pub fn policy_failed(&self, mut errors: Vec<String>) {
        if errors.len() > MAX_POLICY_ERRORS {
            let more = errors.len() - MAX_POLICY_ERRORS;
            errors.truncate(MAX_POLICY_ERRORS);
            errors.push(format!("and {more} more, which the log lists"));
        }
        self.state().policy_errors = errors;
    }

    /// The policy is gone for `error`, and everything is refused.
    pub fn policy_gone(&self, error: String) {
        let mut state = self.state();
        state.policy = None;
        state.policy_errors = vec![error];
    }

    /// A CA signs; what was wrong before is forgotten.
    pub fn ca_loaded(&self) {
        let mut state = self.state();
        state.ca = true;
        state.ca_end = None;
        state.ca_error = None;
    }

    /// The CA signs, but not for long: `words` say until when.
    pub fn ca_ends_soon(&self, words: String) {
        self.state().ca_end = Some(words);
    }

    /// No CA signs any more, since `words`, and the sidecar is not ready. What was wrong before is forgotten.
    pub fn ca_expired(&self, words: String) {
        let mut state = self.state();
        state.ca = false;
        state.ca_end = Some(words);
        state.ca_error = None;
    }

    /// A CA was refused for `error`. The one before signs on, and the sidecar stays ready; where there was none, it is
    /// not.
    pub fn ca_failed(&self, error: String) {
        self.state().ca_error = Some(error);
    }

    /// The sidecar was told to end. Final.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Whether the sidecar is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state().is_ready()
    }

    /// The status and body of `/readyz`.
    pub(crate) fn report(&self) -> (StatusCode, String) {
        let state = self.state();
        let problems = state.problems();
        let (code, status) = match (state.is_ready(), problems.is_empty()) {
            (true, true) => (StatusCode::OK, "ready"),
            (true, false) => (StatusCode::OK, "degraded"),
            (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        };
        let report = Report { status, policy: state.policy.as_deref(), problems };
        let mut body = serde_json::to_string(&report).expect("strings always serialise");
        body.push('\n');
        (code, body)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Report<'a> {
    status: &'static str,
    policy: Option<&'a str>,
    problems: Vec<String>,
}

impl State {
    fn is_ready(&self) -> bool {
        self.policy.is_some() && self.ca && !self.draining
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let in_force = if self.policy.is_some() { "the last good policy stays" } else { "everything is refused" };
        problems.extend(self.policy_errors.iter().map(|error| format!("policy: {error} ({in_force})")));
        if self.policy.is_none() && self.policy_errors.is_empty() {
            problems.push("policy: not loaded yet (everything is refused)".into());
        }
        let signing = if self.ca { "the last good CA stays" } else { "no host can be intercepted" };
        problems.extend(self.ca_error.iter().map(|error| format!("ca: {error} ({signing})")));
        problems.extend(self.ca_end.iter().map(|end| format!("ca: {end}")));
        if !self.ca && self.ca_error.is_none() && self.ca_end.is_none() {
            problems.push("ca: not loaded yet (no host can be intercepted)".into());
        }
        if self.draining {
            problems.push("draining: the sidecar was told to end".into());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(health: &Health) -> (u16, Value) {
        let (status, body) = health.report();
        (status.as_u16(), serde_json::from_str(&body).unwrap())
    }

    fn ready() -> Health {
        let health = Health::new();
        health.policy_loaded("sha256:a");
        health.ca_loaded();
        health
    }

    #[test]
    fn it_starts_not_ready_and_says_why() {
        let problems =
            ["policy: not loaded yet (everything is refused)", "ca: not loaded yet (no host can be intercepted)"];
        let expected = json!({"status": "not_ready", "policy": null, "problems": problems});
        assert_eq!(report(&Health::new()), (503, expected));
        assert_eq!(report(&ready()), (200, json!({"status": "ready", "policy": "sha256:a", "problems": []})));
    }

    #[test]
    fn a_policy_that_is_broken_at_the_start_is_not_ready() {
        let health = Health::new();
        health.ca_loaded();
        health.policy_failed(vec!["line 3: unknown field `hots`".into()]);
        let problems = ["policy: line 3: unknown field `hots` (everything is refused)"];
        assert_eq!(report(&health), (503, json!({"status": "not_ready", "policy": null, "problems": problems})));
        health.policy_loaded("sha256:b");
        assert_eq!(report(&health).0, 200);
    }

    #[test]
    fn a_broken_reload_is_reported_while_the_last_good_one_serves() {
        let health = ready();
        health.policy_failed(vec!["line 3: bad".into()]);
        health.ca_failed("/certs: key and certificate do not belong together".into());
        let (status, report) = report(&health);
        assert_eq!((status, &report["status"], &report["policy"]), (200, &"degraded".into(), &"sha256:a".into()));
        assert_eq!(report["problems"].as_array().map(Vec::len), Some(2));
        health.policy_loaded("sha256:b");
        health.ca_loaded();
        assert_eq!(health.report().1, "{\"status\":\"ready\",\"policy\":\"sha256:b\",\"problems\":[]}\n");
    }

    #[test]
    fn a_ca_near_its_end_is_degraded_and_one_past_it_is_not_ready() {
        let health = ready();
        health.ca_ends_soon("it expires at noon".into());
        assert_eq!(report(&health).1["status"], "degraded");
        health.ca_expired("it expired at noon".into());
        let (status, found) = report(&health);
        assert_eq!((status, &found["problems"]), (503, &json!(["ca: it expired at noon"])));
        health.ca_loaded();
        assert_eq!(report(&health).1["status"], "ready");
    }

    #[test]
    fn a_policy_that_is_gone_is_not_ready() {
        let health = ready();
        health.policy_gone("/p.yaml is missing".into());
        let problems = ["policy: /p.yaml is missing (everything is refused)"];
        assert_eq!(report(&health), (503, json!({"status": "not_ready", "policy": null, "problems": problems})));
    }

    #[test]
    fn draining_is_not_ready() {
        let health = ready();
        assert!(health.is_ready());
        health.drain();
        assert!(!health.is_ready());
        assert_eq!(report(&health).1["problems"], json!(["draining: the sidecar was told to end"]));
    }

    #[test]
    fn a_long_list_of_errors_is_cut() {
        let health = Health::new();
        health.policy_failed((0..1000).map(|line| format!("line {line}: bad")).collect());
        let problems = report(&health).1["problems"].as_array().unwrap().clone();
        assert_eq!(problems.len(), MAX_POLICY_ERRORS + 2);
        assert_eq!(problems[MAX_POLICY_ERRORS], "policy: and 980 more, which the log lists (everything is refused)");
    }
}
