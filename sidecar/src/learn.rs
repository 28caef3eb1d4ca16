//! Learning a policy: what was asked for becomes the smallest policy that allows it, in a new file or beside what stands in
//! one. Refused addresses and failures become comments, never rules, and a line that is there is never changed.

mod addition;
mod comments;
mod document;
mod entry;
mod file;
mod fold;
mod fragment;
mod lacking;
mod learner;
mod log;
mod observation;
mod seen;
mod source;
mod template;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, anyhow};
use clap::builder::{PathBufValueParser, TypedValueParser};
use ipnet::IpNet;
use sandgate_policy::{Policy, PolicyErrors};

use crate::audit::Observer;
use addition::{Additions, Ranges};
use file::PolicyFile;
use learner::Learner;
use observation::Observation;

/// Takes the name of a policy file that is to be made or extended.
#[must_use]
pub fn policy_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.as_os_str() == "-" {
        true => Err("a policy is read and replaced, which no stream can be; name a file (./- for one of that name)"),
        false => Ok(path),
    })
}

/// What is being learnt beside one file, while a command runs.
pub struct Learning {
    file: PolicyFile,
    ranges: Vec<IpNet>,
    learner: Arc<Mutex<Learner>>,
}

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// How many hosts have something new.
    pub hosts: usize,
    /// How many rules are new: a method and a path, or a host as a whole.
    pub rules: usize,
    /// The file that was written, as it was named; `None` for the standard output.
    pub file: Option<PathBuf>,
}

impl Learning {
    /// Begins to learn for `file`, which may be there and then is what is allowed already. Private addresses that are
    /// dialled are listed by those of `ranges` that have them.
    ///
    /// # Errors
    /// Where the file is no valid policy or no file, or cannot be replaced when all is learnt.
    pub fn begin(file: &Path, ranges: Vec<IpNet>) -> anyhow::Result<Self> {
        let file = PolicyFile::open(file)?;
        let base = parse(&file, file.text())?;
        Ok(Self { file, ranges, learner: Arc::new(Mutex::new(Learner::new(base))) })
    }

    /// The policy that is there.
    #[must_use]
    pub fn base(&self) -> Option<String> {
        self.file.text().map(str::to_owned)
    }

    /// Sees the records of a proxy.
    #[must_use]
    pub fn observer(&self) -> Observer {
        let learner = Arc::clone(&self.learner);
        Arc::new(move |record| locked(&learner).add("", Observation::of_record(record)))
    }

    /// Writes what was learnt.
    ///
    /// # Errors
    /// Where the file cannot be written, or is no valid policy any more. What was learnt is then in a file that the error
    /// names.
    pub fn finish(self) -> anyhow::Result<Learnt> {
        let mut learner = locked(&self.learner);
        learner.finish();
        match write(&self.file, &learner, Ranges::These(&self.ranges)) {
            Ok(learnt) => Ok(learnt),
            Err(error) => {
                let additions = Additions::of(&learner, &Policy::deny_all(), Ranges::These(&self.ranges));
                let text = document::new(&additions)?;
                let kept = file::keep(&text).with_context(|| format!("{error:#}"))?;
                Err(error.context(format!("what was learnt is in {}", kept.display())))
            }
        }
    }
}

/// Learns from audit logs, `-` for the standard input. The policy goes to `out`; or to `policy`, which may be there and
/// then is extended. What was passed over in the logs is said in `said`.
///
/// # Errors
/// Where a log cannot be read or has no audit line, or the policy is no valid one or cannot be written.
pub fn from_logs(
    logs: &[PathBuf],
    policy: Option<&Path>,
    out: &mut impl Write,
    said: &mut impl Write,
) -> anyhow::Result<Learnt> {
    let file = policy.map(PolicyFile::open).transpose()?;
    let base = match &file {
        Some(file) => parse(file, file.text())?,
        None => Policy::deny_all(),
    };
    let mut learner = Learner::new(base);
    let mut read = 0;
    for path in logs {
        let found = log::read(path, &mut learner).with_context(|| format!("cannot read {}", path.display()))?;
        // Where stderr is closed, the policy is still right.
        let _ = said.write_all(found.to_string().as_bytes());
        read += found.read;
    }
    if read == 0 {
        return Err(anyhow!("there is no audit line in what was given; docs/audit.md says what they look like"));
    }
    learner.finish();
    match &file {
        Some(file) => write(file, &learner, Ranges::Each),
        None => {
            let additions = Additions::of(&learner, &Policy::deny_all(), Ranges::Each);
            out.write_all(document::new(&additions)?.as_bytes()).context("the policy cannot be written")?;
            Ok(Learnt::new(&additions, None))
        }
    }
}

/// Extends the file as it is now: somebody may have changed it since it was opened.
fn write(file: &PolicyFile, learner: &Learner, ranges: Ranges<'_>) -> anyhow::Result<Learnt> {
    let text = file.read()?;
    let base = parse(file, text.as_deref())?;
    let additions = Additions::of(learner, &base, ranges);
    let named = || file.named().display().to_string();
    let new = match &text {
        Some(text) => document::extended(text, &additions),
        None => document::new(&additions),
    };
    let new = new.with_context(named)?;
    if text.as_deref() != Some(&new) {
        file.replace(&new).with_context(|| format!("{} cannot be written", file.named().display()))?;
    }
    Ok(Learnt::new(&additions, Some(file.named().to_owned())))
}

fn parse(file: &PolicyFile, text: Option<&str>) -> anyhow::Result<Policy> {
    let Some(text) = text else { return Ok(Policy::deny_all()) };
    Policy::parse(text.as_bytes()).map_err(|PolicyErrors(problems)| {
        let file = file.named().display();
        let problems: Vec<_> = problems.iter().map(|problem| format!("{file}: {problem}")).collect();
        anyhow!("{file} is not a valid policy, so nothing can be added to it:\n{}", problems.join("\n"))
    })
}

fn locked(learner: &Mutex<Learner>) -> MutexGuard<'_, Learner> {
    learner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Learnt {
    fn new(additions: &Additions, file: Option<PathBuf>) -> Self {
        let (hosts, rules) = additions.size();
        Self { hosts, rules, file }
    }
}

/// As in `learnt 3 hosts, 5 rules: policy.yaml`.
impl fmt::Display for Learnt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: usize, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
        match self.rules {
            0 => f.write_str("learnt nothing new")?,
            rules => write!(f, "learnt {}, {}", counted(self.hosts, "host"), counted(rules, "rule"))?,
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, ": {}", file.display()))
    }
}

#[cfg(test)]
mod tests;
