//! Whether this replica may answer: a fixed list of conditions, each met or not, with the reason.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What has to be so before reviews are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// The API server is of a version whose kubelets know native sidecars.
    KubernetesVersion,
    /// The namespaces were listed once.
    Namespaces,
    /// This configuration's rendering is published, and the others' were listed once.
    Renderings,
    /// The certificate that is served verifies against every live caBundle.
    Certificate,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 4] = [Self::KubernetesVersion, Self::Namespaces, Self::Renderings, Self::Certificate];

    /// The name in `/readyz` and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubernetesVersion => "kubernetes_version",
            Self::Namespaces => "namespaces",
            Self::Renderings => "renderings",
            Self::Certificate => "certificate",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The conditions of one replica. Who owns a condition sets it; `/readyz` reads them all.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    conditions: [Result<(), String>; Condition::ALL.len()],
    draining: bool,
}

impl Default for Health {
    fn default() -> Self {
        let conditions = Condition::ALL.map(|_| Err("not checked yet".to_owned()));
        Self { state: Mutex::new(State { conditions, draining: false }) }
    }
}

impl Health {
    /// Sets a condition: met, or not and why.
    pub fn set(&self, condition: Condition, state: Result<(), String>) {
        self.lock().conditions[condition as usize] = state;
    }

    /// From now on not ready, whatever else is so.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// What is not as it has to be, as `name: reason` lines; empty when ready.
    #[must_use]
    pub fn unmet(&self) -> Vec<String> {
        let state = self.lock();
        let draining = state.draining.then(|| "draining: the process was asked to end".to_owned());
        let unmet = Condition::ALL.into_iter().zip(&state.conditions);
        let unmet = unmet.filter_map(|(condition, state)| Some(format!("{condition}: {}", state.as_ref().err()?)));
        draining.into_iter().chain(unmet).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a state that is whole: it is set in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_ready_when_every_condition_is_met_and_until_it_drains() {
        let health = Health::default();
        assert_eq!(health.unmet().len(), Condition::ALL.len());
        for condition in Condition::ALL {
            health.set(condition, Ok(()));
        }
        assert_eq!(health.unmet(), Vec::<String>::new());
        health.set(Condition::Certificate, Err("no caBundle verifies it".to_owned()));
        assert_eq!(health.unmet(), ["certificate: no caBundle verifies it"]);
        health.set(Condition::Certificate, Ok(()));
        health.drain();
        assert_eq!(health.unmet().len(), 1);
    }
}
