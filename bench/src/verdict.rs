//! How long a verdict takes, by the number of rules: in this process, without a proxy.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use http::Method;
use sandgate_policy::destination::{Destination, Host, Scheme};
use sandgate_policy::{Outcome, Policy};

/// Sizes of a policy.
pub(crate) const RULES: [usize; 3] = [10, 1000, 10_000];
const VERDICTS: u32 = 200_000;
const REPEATS: usize = 9;

/// The time of one verdict in ns, for each number of rules: the median of several repeats, which go in turn.
pub(crate) fn measure() -> anyhow::Result<Vec<(usize, f64)>> {
    let subjects = RULES.iter().map(|rules| Subject::new(*rules)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut times = vec![Vec::new(); subjects.len()];
    for _ in 0..REPEATS {
        for (subject, times) in subjects.iter().zip(&mut times) {
            times.push(subject.time());
        }
    }
    Ok(RULES.into_iter().zip(times).map(|(rules, times)| (rules, median(times))).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A policy, and requests that it allows and refuses.
pub(crate) struct Subject {
    policy: Policy,
    requests: Vec<(Destination, Method, &'static str)>,
}

impl Subject {
    /// A policy of so many rules: a third are hosts with paths, a third are wildcards, the rest plain hosts. The requests
    /// are for all of them, and for hosts that are not listed, spread over the whole policy.
    pub(crate) fn new(rules: usize) -> anyhow::Result<Self> {
        let mut text = "version: 1\ndestinations:\n".to_owned();
        for rule in 0..rules {
            text.push_str(&match rule % 3 {
                0 => format!(
                    "- {{id: r{rule}, host: h{rule}.test, allow: [{{methods: [GET], paths: [/v1/**, /ok/*/x]}}]}}\n"
                ),
                1 => format!("- {{id: r{rule}, host: \"*.w{rule}.test\"}}\n"),
                _ => format!("- {{id: r{rule}, host: h{rule}.test}}\n"),
            });
        }
        let policy = Policy::parse(text.as_bytes())?;
        ensure!(policy.rules().len() == rules, "a rule is missing");
        let mut requests = Vec::new();
        for sixth in 0..6 {
            let rule = (rules - 4) * sixth / 6 / 3 * 3;
            for (host, method, path) in [
                (format!("h{rule}.test"), Method::GET, "/v1/models/some"),
                (format!("h{rule}.test"), Method::POST, "/v1/models/some"),
                (format!("deep.sub.w{}.test", rule + 1), Method::POST, "/any/path"),
                (format!("h{}.test", rule + 2), Method::GET, "/"),
                (format!("unlisted{rule}.test"), Method::GET, "/"),
            ] {
                let destination = Destination { host: Host::parse(&host)?, port: 443, scheme: Scheme::Https };
                requests.push((destination, method, path));
            }
        }
        let subject = Self { policy, requests };
        let allowed = subject.requests.iter().filter(|request| subject.allows(request)).count();
        ensure!(allowed == 3 * 6, "{allowed} of the requests are allowed");
        Ok(subject)
    }

    fn allows(&self, (destination, method, path): &(Destination, Method, &str)) -> bool {
        matches!(self.policy.judge_request(destination, method, path).outcome, Outcome::Allow)
    }

    /// Judges every request once, and returns how many there are.
    pub(crate) fn judge(&self) -> usize {
        for request in &self.requests {
            black_box(self.allows(black_box(request)));
        }
        self.requests.len()
    }

    fn time(&self) -> f64 {
        let (start, mut verdicts) = (Instant::now(), 0);
        while verdicts < VERDICTS as usize {
            verdicts += self.judge();
        }
        start.elapsed().as_secs_f64() * 1e9 / verdicts as f64
    }
}

/// The largest policy's time as a part of the smallest's.
pub(crate) fn growth(times: &[(usize, f64)]) -> anyhow::Result<f64> {
    let (first, last) = (times.first().context("no time")?, times.last().context("no time")?);
    Ok(last.1 / first.1)
}
