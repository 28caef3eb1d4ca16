//! Watches that never end: errors are logged, counted and tried again with a growing pause. Keeps nothing itself.

use std::fmt::Debug;
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

/// Watches the objects of `api` that `fields` selects (all of them, if it is empty), for ever.
pub(crate) async fn events<K>(watch: &str, api: Api<K>, fields: &str, vitals: &Vitals, mut on: impl FnMut(Event<K>))
where
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
                on(event);
            }
            Ok(Some(Err(error))) => {
                tracing::warn!(watch, error = %why(&error), retry_in = ?pause, "watch failed; what is known stays in use");
                up.set(0);
                errors.inc();
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Ok(None) => unreachable!("a watcher never ends"),
            Err(_quiet) => up.set(i64::from(!listing)),
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn why(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
