//! Pods that somebody creates at a steady rate, whatever happens to the webhook meanwhile. They are held back from the
//! scheduler: what is looked at is whether they get in, and how.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{self, RUNTIME};
use crate::objects::{pod, with};
use crate::space::Space;
use crate::wait::eventually;

/// A stream of creations; it ends when it is dropped.
pub struct Stream {
    shared: Arc<Shared>,
    start: Instant,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    begun: AtomicUsize,
    admitted: Mutex<Vec<Value>>,
    refused: Mutex<Vec<String>>,
}

impl Stream {
    /// Starts creating `per_second` pods, in the namespaces in turn.
    #[must_use]
    pub fn start(spaces: &[&Space], per_second: u32) -> Self {
        let paths: Vec<String> = spaces.iter().map(|space| space.path("pods")).collect();
        let shared = Arc::new(Shared::default());
        let task = RUNTIME.spawn(create(paths, Duration::from_secs(1) / per_second, Arc::clone(&shared)));
        Self { shared, start: Instant::now(), task }
    }

    /// Waits until so many more have begun.
    pub fn more(&self, count: usize) {
        let goal = self.shared.begun.load(Ordering::Relaxed) + count;
        eventually("more pods are created", || {
            let begun = self.shared.begun.load(Ordering::Relaxed);
            if begun >= goal { Ok(()) } else { Err(format!("{begun} of {goal}")) }
        });
    }

    /// Ends it, and waits for all answers: the pods that got in as the API server has them, in no order, and the refusals.
    /// The rate that it really had is the last.
    #[must_use]
    pub fn end(mut self) -> (Vec<Value>, Vec<String>, f64) {
        self.shared.ended.store(true, Ordering::Relaxed);
        RUNTIME.block_on(&mut self.task).expect("the stream does not panic");
        let admitted = std::mem::take(&mut *self.shared.admitted.lock().unwrap());
        let refused = std::mem::take(&mut *self.shared.refused.lock().unwrap());
        #[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
        let rate = (admitted.len() + refused.len()) as f64 / self.start.elapsed().as_secs_f64();
        (admitted, refused, rate)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

async fn create(paths: Vec<String>, pause: Duration, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(pause);
    let mut running = Vec::new();
    while !shared.ended.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = shared.begun.fetch_add(1, Ordering::Relaxed);
        let path = paths[number % paths.len()].clone();
        running.push(tokio::spawn(create_one(path, number, Arc::clone(&shared))));
    }
    for task in running {
        task.await.expect("a creation does not panic");
    }
}

async fn create_one(path: String, number: usize, shared: Arc<Shared>) {
    // In the logs of the replicas the same clock is seen.
    let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let held = json!({"spec": {"schedulingGates": [{"name": "example.com/held"}]}});
    match api::create(&path, &with(pod(&format!("held-{number}")), &held)).await {
        Ok(pod) => shared.admitted.lock().unwrap().push(pod),
        Err(refusal) => {
            let text = format!("asked at {asked:?}: {}: {}", refusal.code, refusal.message);
            shared.refused.lock().unwrap().push(text);
        }
    }
}
