//! Watches that never end: errors are logged, counted and tried again with a growing pause. Keeps nothing itself.

use std::error::Error;
use std::fmt::Debug;
use std::iter::successors;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::vitals::Vitals;

/// How long the API server keeps one watch open; kube takes one that is silent for little longer for dead.
const WATCH_SECONDS: u32 = 60;
/// The pause after the first error, and the longest one. A repair is due within 2 s, so the first is short.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A watch that has not failed for this long after an error answers again; good ones say nothing while nothing happens.
const QUIET: Duration = Duration::from_secs(8);

/// Watches the objects of `api` that `fields` selects (all of them, if it is empty), for ever. `on` gets each event, and
/// of each failure the reason in words.
pub(crate) async fn events<K>(
    watch: &str,
    api: Api<K>,
    fields: &str,
    vitals: &Vitals,
    mut on: impl FnMut(Result<Event<K>, String>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(500);
    let config = if fields.is_empty() { config } else { config.fields(fields) };
    let mut stream = pin!(watcher::watcher(api, config));
    let (up, errors) = (vitals.watch_up.with_label_values(&[watch]), vitals.watch_errors.with_label_values(&[watch]));
    let (mut pause, mut listing) = (PAUSE, true);
    loop {
        match timeout(QUIET, stream.next()).await {
            Ok(Some(Ok(event))) => {
                // `Init` says only that a list is about to be asked for.
                listing = matches!(event, Event::Init);
                if !listing {
                    up.set(1);
                    pause = PAUSE;
                }
                on(Ok(event));
            }
            Ok(Some(Err(error))) => {
                let error = why(&error);
                tracing::warn!(watch, error, retry_in = ?pause, "watch failed; what is known stays in use");
                up.set(0);
                errors.inc();
                on(Err(error));
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Ok(None) => unreachable!("a watcher never ends"),
            Err(_quiet) => up.set(i64::from(!listing)),
        }
    }
}

/// An error with its causes on one line. Of an API server's refusal its message alone: kube adds the whole status to it.
pub(crate) fn why(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| <dyn Error>::source(error));
    let refusal = causes.clone().find_map(|error| match error.downcast_ref() {
        Some(kube::Error::Api(status)) if !status.message.is_empty() => Some(status.message.clone()),
        _ => None,
    });
    refusal.unwrap_or_else(|| {
        causes.map(ToString::to_string).fold(String::new(), |text, cause| match text {
            text if text.is_empty() => cause,
            text if text.contains(&cause) => text,
            text => format!("{text}: {cause}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_api_servers_words_and_anything_else_with_its_causes() {
        let status = Status::failure("namespaces is forbidden: user x cannot list them", "Forbidden");
        let refused = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        assert_eq!(why(&refused), "namespaces is forbidden: user x cannot list them");
        let broken = watcher::Error::NoResourceVersion;
        assert_eq!(why(&broken), broken.to_string());
    }
}
