//! A pod with a sidecar and the situation that it is judged in, for unit tests. Never part of the program.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::config::Config;
use crate::mode::Mode;
use crate::mutate;
use crate::namespace::Namespace;
use crate::rendering::Rendering;
use crate::situation::Situation;

/// What a [`Situation`] borrows.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) mode: Mode,
    pub(crate) namespace: Namespace,
    pub(crate) config: Config,
    pub(crate) rendering: Rendering,
    pub(crate) accepted: Vec<Rendering>,
}

impl Sample {
    /// A required namespace and the configuration as it is without a file.
    pub(crate) fn new() -> Self {
        let config = Config::default();
        let rendering = Rendering::new(&config, &[SocketAddr::from(([10, 96, 0, 10], 53))]);
        let namespace = Namespace { name: "sandboxes".to_owned(), ..Namespace::default() };
        Self { mode: Mode::Required, namespace, config, rendering, accepted: Vec::new() }
    }

    pub(crate) fn situation(&self) -> Situation<'_> {
        Situation {
            mode: self.mode,
            namespace: &self.namespace,
            config: &self.config,
            rendering: &self.rendering,
            accepted: &self.accepted,
        }
    }

    /// A pod of one container as the webhook leaves it.
    pub(crate) fn pod(&self) -> Value {
        self.injected(&plain())
    }

    /// `pod` as the webhook leaves it.
    pub(crate) fn injected(&self, pod: &Value) -> Value {
        let decision = mutate::create(&self.situation(), pod).expect("a pod that gets in");
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &decision.patch).expect("a patch that applies");
        pod
    }
}

/// A pod as its author wrote it.
pub(crate) fn plain() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "warm-1", "labels": {"app": "kata-manager"}},
        "spec": {"containers": [{"name": "workload", "image": "python:3.13"}]},
    })
}

/// `pod` with `value` at `pointer`; `-` appends to a list, which is made where there is none.
pub(crate) fn with(pod: &Value, pointer: &str, value: Value) -> Value {
    let mut pod = pod.clone();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let field = field.replace("~1", "/").replace("~0", "~");
    let parent = match pod.pointer_mut(parent) {
        Some(parent) => parent,
        None => {
            let made = if field == "-" { json!([]) } else { json!({}) };
            pod = with(&pod, parent, made);
            pod.pointer_mut(parent).expect("it was made")
        }
    };
    match (parent, field.as_str()) {
        (Value::Array(elements), "-") => elements.push(value),
        (Value::Array(elements), index) => elements[index.parse::<usize>().expect("an index")] = value,
        (parent, field) => parent[field] = value,
    }
    pod
}

/// `pod` without what is at `pointer`.
pub(crate) fn without(pod: &Value, pointer: &str) -> Value {
    let mut pod = pod.clone();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    match pod.pointer_mut(parent).expect("something to take it from") {
        Value::Array(elements) => drop(elements.remove(field.parse().expect("an index"))),
        parent => drop(parent.as_object_mut().expect("an object").remove(field).expect("it was there")),
    }
    pod
}
