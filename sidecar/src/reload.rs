//! The policy file, watched by content: loads it, keeps the last good one, and puts a new one in force.
//!
//! Polled, because file notification is not reliable on every mount. Nothing here judges a request.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandgate_policy::destination::Scheme;
use sandgate_policy::yaml;
use sandgate_policy::{Mode, Policy, Problem, Rule, Tls};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::admin::Health;
use crate::engine::Engine;
use crate::file;
use crate::metrics::Metrics;
use crate::settings::PolicySource;
use crate::upstream::profile::{Profiles, Routes};

/// How long a stream that is no longer allowed has to end by itself. The promise is 5 s, poll not counted.
const PATIENCE: Duration = Duration::from_secs(2);
/// A file that is being written in place must be quiet for so long before it is taken.
const SETTLE: Duration = Duration::from_millis(100);

/// A policy, ready to be put in force.
pub struct Loaded {
    /// The rules.
    pub policy: Policy,
    /// How each rule's origins are reached.
    pub routes: Routes,
}

/// Loads the policy, and again when its content changes.
pub struct Loader {
    source: PolicySource,
    profiles: Profiles,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// Whether a policy in audit mode is a broken one.
    enforces: bool,
    seen: Seen,
    /// Whether the last good policy names certificate files, and what was wrong with their content last.
    names_files: bool,
    file_problems: Vec<String>,
}

/// What the last look at the file found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Content(Vec<u8>),
    /// Once may be a replacement under way; twice is a file that is gone.
    MissingOnce,
    Missing,
    Unreadable(String),
}

impl Loader {
    /// A loader for `source` that reaches origins by `profiles`.
    #[must_use]
    pub fn new(source: PolicySource, profiles: Profiles, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        let (seen, names_files, file_problems) = (Seen::Missing, false, Vec::new());
        Self { source, profiles, health, metrics, enforces: false, seen, names_files, file_problems }
    }

    /// The policy to begin with. One that is missing or broken denies everything, and is reported.
    ///
    /// # Errors
    /// Only where the policy stands in the arguments, which will not mend itself: every problem of it.
    pub fn start(&mut self) -> anyhow::Result<Loaded> {
        let (text, parsed) = match self.source.clone() {
            PolicySource::File(path) => return Ok(self.start_from(&path)),
            PolicySource::None => {
                tracing::info!("no policy is set, so everything is refused; set --policy or --allowed-domains");
                ("no policy", Ok(Policy::deny_all()))
            }
            PolicySource::AllowedDomains(list) => ("allowed domains", Policy::from_allowed_domains(&list)),
            PolicySource::Text(text) => ("the policy", Policy::parse(text.as_bytes())),
            PolicySource::Learning { base, .. } => ("the policy", Policy::parse(base.as_bytes()).map(Policy::audited)),
        };
        let policy = parsed.map_err(|errors| anyhow::anyhow!("{text}: {errors}"))?;
        self.ready(policy).map_err(|problems| anyhow::anyhow!("{text}: {}", problems.join("; ")))
    }

    fn start_from(&mut self, path: &Path) -> Loaded {
        let seen = match look(path) {
            Seen::MissingOnce => Seen::Missing,
            seen => seen,
        };
        self.take(path, seen).unwrap_or_else(|| {
            tracing::error!("everything is refused until {} is a valid policy", path.display());
            self.deny_all()
        })
    }

    /// From now on a policy in `mode: audit` is a broken one: it intercepts any host, and a CA that is constrained to
    /// hosts can't sign for those.
    pub fn refuse_audit_mode(&mut self) {
        self.enforces = true;
    }

    /// Whether the file has changed since the last look, and if so what is to be put in force.
    async fn poll(&mut self, path: &Path) -> Option<Loaded> {
        let seen = self.look(path);
        if seen == self.seen {
            return self.with_changed_files(path);
        }
        // Half of a policy may be valid and allow more than the whole.
        sleep(SETTLE).await;
        if self.look(path) == seen { self.take(path, seen) } else { None }
    }

    fn look(&self, path: &Path) -> Seen {
        match (look(path), &self.seen) {
            (Seen::MissingOnce, Seen::MissingOnce | Seen::Missing) => Seen::Missing,
            (seen, _) => seen,
        }
    }

    fn take(&mut self, path: &Path, seen: Seen) -> Option<Loaded> {
        self.seen = seen.clone();
        let problems = match seen {
            Seen::MissingOnce => return None,
            Seen::Missing => {
                let problem = format!("{} is missing", path.display());
                tracing::error!(problem, "there is no policy; everything is refused");
                self.metrics.policy_gone();
                self.health.policy_gone(problem);
                return Some(self.deny_all());
            }
            Seen::Unreadable(error) => vec![error],
            Seen::Content(text) => match self.parse(path, &text) {
                Ok(loaded) => return Some(loaded),
                Err(problems) => problems,
            },
        };
        self.failed(problems);
        None
    }

    fn parse(&mut self, path: &Path, text: &[u8]) -> Result<Loaded, Vec<String>> {
        let named = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
        let policy =
            Policy::parse(text).map_err(|errors| errors.0.iter().map(|problem| named(problem)).collect::<Vec<_>>())?;
        self.ready(policy).map_err(|problems| problems.iter().map(|problem| named(problem)).collect())
    }

    /// The certificates that a rule names are part of the policy: other content is another policy.
    fn with_changed_files(&mut self, path: &Path) -> Option<Loaded> {
        // Nothing to parse again every few seconds where no file is named.
        let Seen::Content(text) = self.seen.clone() else { return None };
        let policy = self.names_files.then(|| Policy::parse(&text).ok()).flatten()?;
        // After a problem the old content may be back, which clears it.
        if self.file_problems.is_empty() && !self.profiles.would_change(&policy) {
            return None;
        }
        match self.ready(policy) {
            Ok(loaded) => Some(loaded),
            Err(problems) => {
                // Said once, and not again at every look until the files change.
                if self.file_problems != problems {
                    self.failed(problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect());
                    self.file_problems = problems;
                }
                None
            }
        }
    }

    fn ready(&mut self, policy: Policy) -> Result<Loaded, Vec<String>> {
        if self.enforces && policy.mode() == Mode::Audit {
            let problem = "mode: audit intercepts any host, which --ca-name-constraints rules out; restart without it";
            return Err(vec![problem.to_owned()]);
        }
        let names_files = |rule: &Arc<Rule>| !rule.upstream.ca.is_empty() || rule.upstream.client_cert.is_some();
        self.names_files |= policy.rules().iter().any(names_files);
        let routes = self.profiles.routes(&policy)?;
        self.names_files = policy.rules().iter().any(names_files);
        self.file_problems.clear();
        self.warn(&policy);
        self.health.policy_loaded(policy.digest());
        self.metrics.policy_loaded(policy.digest());
        tracing::info!(digest = policy.digest(), destinations = policy.rules().len(), "policy loaded");
        Ok(Loaded { policy, routes })
    }

    /// Says what the policy may do that its author did not mean.
    fn warn(&self, policy: &Policy) {
        let warnings = policy.warnings();
        let say = |warning: &Problem| tracing::warn!(%warning, "the policy is valid, but");
        match &self.source {
            // What is learnt from refuses nothing, whatever its text says.
            PolicySource::Learning { .. } => {}
            // Nobody wrote the lines of a text that flags were made into; who made it warns in terms of the flags.
            PolicySource::Text(_) => warnings.iter().filter(|warning| warning.line == 0).for_each(say),
            _ => warnings.iter().for_each(say),
        }
    }

    fn deny_all(&mut self) -> Loaded {
        let policy = Policy::deny_all();
        let routes = self.profiles.routes(&policy).expect("a policy without rules names no file");
        Loaded { policy, routes }
    }

    fn failed(&self, problems: Vec<String>) {
        for problem in &problems {
            tracing::error!(problem, "the policy was not loaded");
        }
        self.metrics.policy_reload_failed();
        self.health.policy_failed(problems);
    }
}

fn look(path: &Path) -> Seen {
    match file::read(path, yaml::MAX_BYTES) {
        Ok(text) => Seen::Content(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::MissingOnce,
        Err(error) => Seen::Unreadable(format!("{}: {error}", path.display())),
    }
}

/// The hosts that `policy` intercepts, for name constraints: none where any host may be intercepted.
#[must_use]
pub fn intercepted_hosts(policy: &Policy) -> Arc<[String]> {
    if policy.mode() == Mode::Audit {
        return Arc::default();
    }
    let intercepted = |rule: &&Arc<Rule>| rule.scheme == Scheme::Https && rule.tls == Tls::Intercept;
    let hosts: HashSet<String> =
        policy.rules().iter().filter(intercepted).map(|rule| rule.pattern.to_string()).collect();
    let mut hosts: Vec<String> = hosts.into_iter().collect();
    hosts.sort_unstable();
    hosts.into()
}

/// Looks at the file every `period` and puts what changed in force, until the task is dropped. `hosts` is told of the
/// intercepted hosts first, so that the CA may sign for them when the first request comes.
pub async fn watch(
    engine: Arc<Engine>,
    mut loader: Loader,
    path: PathBuf,
    period: Duration,
    hosts: watch::Sender<Arc<[String]>>,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(Loaded { policy, routes }) = loader.poll(&path).await else { continue };
        hosts.send_replace(intercepted_hosts(&policy));
        let profiles = routes.ids();
        let revoked = engine.enforcement.swap(policy, routes);
        engine.upstream.retain_profiles(|id| profiles.contains(&id));
        tracing::info!(revoked, "another policy is in force");
        if revoked > 0 {
            tokio::spawn(sever_later(Arc::clone(&engine)));
        }
    }
}

/// Streams end by themselves at once, but for those whose client takes nothing.
async fn sever_later(engine: Arc<Engine>) {
    sleep(PATIENCE).await;
    let severed = engine.enforcement.sever_revoked();
    if severed > 0 {
        tracing::warn!(
            severed,
            "connections were severed: their clients held on to streams that are no longer allowed"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::RootCertStore;
    use tempfile::TempDir;

    use super::*;

    const HALF: &str = "version: 1\ndestinations:\n  - id: a\n    host: a.test\n";
    const WHOLE: &str =
        "version: 1\ndestinations:\n  - id: a\n    host: a.test\n    allow: [{methods: [GET], paths: [/]}]\n";

    fn started(dir: &TempDir, text: &str) -> (Loader, PathBuf, Arc<Health>) {
        let (path, health) = (dir.path().join("policy.yaml"), Arc::new(Health::new()));
        fs::write(&path, text).unwrap();
        let profiles = Profiles::new(Arc::new(RootCertStore::empty()));
        let source = PolicySource::File(path.clone());
        let mut loader = Loader::new(source, profiles, Arc::clone(&health), Arc::new(Metrics::new()));
        loader.start().unwrap();
        health.ca_loaded();
        (loader, path, health)
    }

    fn digest(text: &str) -> String {
        Policy::parse(text.as_bytes()).unwrap().digest().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_is_still_being_written_waits_for_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let (mut loader, path, _) = started(&dir, "version: 1\ndestinations: []\n");
        fs::write(&path, HALF).unwrap();
        let (half, ()) = tokio::join!(loader.poll(&path), async { fs::write(&path, WHOLE).unwrap() });
        assert!(half.is_none());
        assert_eq!(loader.poll(&path).await.unwrap().policy.digest(), digest(WHOLE));
        assert!(loader.poll(&path).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifo_or_a_file_without_end_is_a_broken_policy() {
        let dir = tempfile::tempdir().unwrap();
        let (mut loader, path, health) = started(&dir, WHOLE);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(loader.poll(&path).await.is_none());
        let (status, report) = health.report();
        assert!(status.is_success() && report.contains("it is a device, not a regular file"), "{report}");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(loader.poll(&path).await.is_none());
        assert!(health.report().1.contains("it is a FIFO"));
        fs::remove_file(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(yaml::MAX_BYTES as u64 + 1).unwrap();
        assert!(loader.poll(&path).await.is_none());
        assert!(health.report().1.contains("more than 4194304 bytes"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_in_audit_mode_is_broken_where_the_ca_is_constrained() {
        let dir = tempfile::tempdir().unwrap();
        let (mut loader, path, health) = started(&dir, WHOLE);
        loader.refuse_audit_mode();
        fs::write(&path, WHOLE.replace("destinations", "mode: audit\ndestinations")).unwrap();
        assert!(loader.poll(&path).await.is_none());
        let (status, report) = health.report();
        assert!(status.is_success() && report.contains("degraded"), "{report}");
        assert!(report.contains("--ca-name-constraints") && report.contains("the last good policy stays"), "{report}");
        fs::write(&path, HALF).unwrap();
        assert_eq!(loader.poll(&path).await.unwrap().policy.digest(), digest(HALF));
    }
}
