//! The stages of a rotation as a pure function: what is so and what time it is in, what to do next out. All state that
//! must outlive a crash is in the Secret; what is remembered here only makes a replica wait longer.
//!
//! 1. A `next` CA is written into the Secret, and every bundle comes to have it.
//! 2. After it was in every bundle for the trust delay, it becomes the current one: replicas serve its certificates.
//! 3. When no replica serves the previous one any more, that leaves the bundles and the Secret.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;

/// What a rotation needs to know of a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its fingerprint.
    pub(super) id: String,
    /// When it starts to be valid.
    pub(super) not_before: OffsetDateTime,
    /// When it ends.
    pub(super) not_after: OffsetDateTime,
}

/// What the Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The CA that signs.
    pub(super) current: Facts,
    /// The CA that will sign, trusted already.
    pub(super) next: Option<Facts>,
    /// The CA that signed before, trusted still.
    pub(super) previous: Option<Facts>,
    /// What each replica says that it serves: the CA's fingerprint, and a text that changes with every heartbeat.
    pub(super) serving: BTreeMap<String, Record>,
}

/// What a replica says that it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The fingerprint of the CA that signed it.
    pub(super) ca: String,
    /// When it was written, as text. Never compared with a clock of ours: two nodes may disagree on the time.
    pub(super) beat: String,
}

impl View {
    /// 0: one CA. 1: a new one is only trusted. 2: it signs, and the old one is still trusted.
    pub(super) fn stage(&self) -> u8 {
        match (&self.next, &self.previous) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        }
    }
}

/// What this replica serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The fingerprint of the CA that signed it.
    pub(super) ca: String,
    /// When it is to be made anew.
    pub(super) renew_at: OffsetDateTime,
}

/// The settings that decide.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    /// How long before its end a CA is replaced.
    pub(super) rotate_before: Duration,
    /// How long a new CA is in every bundle before it serves.
    pub(super) trust_delay: Duration,
}

impl Timing {
    /// How often a replica says what it serves while a rotation runs.
    pub(super) fn heartbeat(&self) -> Duration {
        (self.trust_delay / 2).clamp(Duration::from_millis(200), Duration::from_secs(60))
    }

    /// After how long without a new word a replica is taken for gone: a few minutes, unless the delay is shorter.
    fn stale(&self) -> Duration {
        self.heartbeat() * 6
    }

    /// When a CA is due to be replaced: never before a third of its life is over, whatever the settings.
    pub(super) fn rotate_at(&self, ca: &Facts) -> OffsetDateTime {
        let longest: time::Duration = (ca.not_after - ca.not_before) * 2 / 3;
        ca.not_after - longest.min(self.rotate_before.try_into().unwrap_or(longest))
    }
}

/// A change of the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The CA has ended: a new one takes its place at once.
    Replace,
    /// A new CA is made and will be trusted.
    AddNext,
    /// The next CA signs; the one that did is the previous one.
    Switch,
    /// The previous CA is trusted no more.
    DropPrevious,
    /// This replica says what it serves.
    Record,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make a serving certificate of the current CA and serve it.
    Serve,
    /// Change the Secret.
    Change(Change),
}

/// What a replica remembers between steps. Losing it makes it wait again, no more.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Since when every bundle has been seen with all CAs of the Secret, in which stage and with which.
    complete_since: Option<(Stage, OffsetDateTime)>,
    /// When each replica's record was first seen as it is.
    seen: BTreeMap<String, (Record, OffsetDateTime)>,
}

type Stage = (u8, Vec<String>);

impl Memory {
    /// Takes what was observed at `now`: `complete` says whether every bundle has exactly the CAs of `view`.
    pub(super) fn observe(&mut self, view: &View, complete: bool, now: OffsetDateTime) {
        let stage: Stage = (view.stage(), view.cas().map(|ca| ca.id.clone()).collect());
        self.complete_since = match self.complete_since.take() {
            _ if !complete => None,
            Some((same, since)) if same == stage => Some((same, since)),
            _ => Some((stage, now)),
        };
        self.seen.retain(|replica, _| view.serving.contains_key(replica));
        for (replica, record) in &view.serving {
            if self.seen.get(replica).is_none_or(|(last, _)| last != record) {
                self.seen.insert(replica.clone(), (record.clone(), now));
            }
        }
    }

    fn complete_for(&self, delay: Duration, now: OffsetDateTime) -> bool {
        self.complete_since.as_ref().is_some_and(|(_, since)| now - *since >= delay)
    }

    /// Whether a replica that is not gone serves something that another CA than `current` signed.
    fn old_is_served(&self, current: &Facts, timing: &Timing, now: OffsetDateTime) -> bool {
        let mut others = self.seen.values().filter(|(record, _)| record.ca != current.id);
        others.any(|(_, since)| now - *since < timing.stale())
    }

    fn beat_due(&self, replica: &str, ca: &str, timing: &Timing, now: OffsetDateTime) -> bool {
        let fresh = |(record, since): &(Record, _)| record.ca == ca && now - *since < timing.heartbeat();
        !self.seen.get(replica).is_some_and(fresh)
    }
}

impl View {
    /// The CAs that bundles must have, in the order of their lives.
    pub(super) fn cas(&self) -> impl Iterator<Item = &Facts> {
        self.previous.iter().chain([&self.current]).chain(&self.next)
    }
}

/// What `replica` is to do next. At most one change of the Secret at a time, and what it serves first.
pub(super) fn step(
    replica: &str,
    view: &View,
    served: Option<&Served>,
    memory: &Memory,
    timing: &Timing,
    now: OffsetDateTime,
) -> Vec<Action> {
    if now >= view.current.not_after {
        return vec![Action::Change(Change::Replace)];
    }
    let serves_current = served.is_some_and(|served| served.ca == view.current.id && now < served.renew_at);
    if !serves_current {
        return vec![Action::Serve];
    }
    let beat = || memory.beat_due(replica, &view.current.id, timing, now);
    match view.stage() {
        0 if now >= timing.rotate_at(&view.current) => vec![Action::Change(Change::AddNext)],
        1 if memory.complete_for(timing.trust_delay, now) => vec![Action::Change(Change::Switch)],
        2 if finished(view, memory, timing, now) => vec![Action::Change(Change::DropPrevious)],
        1 | 2 if beat() => vec![Action::Change(Change::Record)],
        _ => Vec::new(),
    }
}

/// Whether the previous CA has done its duty: it ended, or the bundles have been complete for the delay again and nobody
/// serves what it signed. The delay gives replicas time to say so.
fn finished(view: &View, memory: &Memory, timing: &Timing, now: OffsetDateTime) -> bool {
    let ended = view.previous.as_ref().is_some_and(|previous| now >= previous.not_after);
    let unused = || !memory.old_is_served(&view.current, timing, now);
    ended || (memory.complete_for(timing.trust_delay, now) && unused())
}

#[cfg(test)]
mod tests;
