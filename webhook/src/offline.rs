//! What the offline commands share: files to objects, objects to pods, and the webhook's own decision on each of them.
//! No cluster is asked: what a namespace says comes from the command line.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;

use anyhow::Context;
use serde_json::Value;

use crate::admission::Request;
use crate::cli::{Offline, Source};
use crate::config::Config;
use crate::decision::{Decision, Refusal};
use crate::documents::{self, Document, MAX_BYTES};
use crate::mode::Mode;
use crate::mutate;
use crate::names::INJECT_LABEL;
use crate::namespace::Namespace;
use crate::pod;
use crate::reason::Reason;
use crate::rendering::Rendering;
use crate::situation::Situation;
use crate::workload::Workload;

/// Namespaces in which the webhook is never called.
pub const EXEMPT: [&str; 3] = ["kube-system", "kube-node-lease", "sandgate-system"];

/// What is said of files in which there is nothing to do.
pub const NOTHING: &str = "there is no pod in it, and nothing of a known kind that makes pods";

/// A file that was read.
#[derive(Debug)]
pub struct File {
    /// Its name, for people.
    pub name: String,
    /// Its objects.
    pub documents: Vec<Document>,
}

/// A pod, or what makes pods, in a file.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file, as it was named.
    file: String,
    /// The line on which its document starts.
    line: usize,
    /// Where it stands in the document, as a JSON Pointer: empty, or an item of a List.
    pub object: String,
    /// What it is.
    pub workload: Workload,
    /// Its namespace.
    pub namespace: String,
    /// Its name, or the prefix from which one is made.
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, object, workload, namespace, name } = self;
        let item = if object.is_empty() { String::new() } else { format!("{}: ", object.trim_start_matches('/')) };
        write!(f, "{file}:{line}: {item}{} {namespace}/{name}", workload.kind)
    }
}

/// What is known of the namespace and the webhook.
#[derive(Debug)]
pub struct Assumed<'a> {
    offline: &'a Offline,
    config: &'a Config,
    rendering: Rendering,
}

impl<'a> Assumed<'a> {
    /// The situation of a command line.
    #[must_use]
    pub fn new(offline: &'a Offline, config: &'a Config) -> Self {
        // The webhook would fill in the name servers of its own resolv.conf, which is not known here.
        const UNKNOWN: &[SocketAddr] = &[];
        Self { offline, config, rendering: Rendering::new(config, UNKNOWN) }
    }

    /// The mode of the namespace.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.offline.mode
    }

    /// What a person has to know about everything that is printed, beside warnings about single pods.
    #[must_use]
    pub fn note(&self) -> Option<&'static str> {
        self.config.dns.servers.is_empty().then_some(
            "no dns.servers in the configuration: a sidecar printed here asks the name servers of the pod's own \
             /etc/resolv.conf, which a root workload can write; the webhook in a cluster gives it servers",
        )
    }

    /// Every pod of a document, and every object that makes pods.
    ///
    /// # Errors
    /// A message that names an object without the pod that its kind has.
    pub fn places(&self, file: &File, document: &Document) -> anyhow::Result<Vec<Place>> {
        let mut places = Vec::new();
        for (object, workload) in workloads(&document.value) {
            let json = document.value.pointer(&object).unwrap_or(&Value::Null);
            let place = self.place(file, document, object, workload, json);
            if workload.pod(json).is_none() {
                let field = workload.pointer.trim_start_matches('/').replace('/', ".");
                anyhow::bail!("{}: there is no pod template at {field}", plain(&place.to_string()));
            }
            places.push(place);
        }
        Ok(places)
    }

    fn place(&self, file: &File, document: &Document, object: String, workload: Workload, json: &Value) -> Place {
        let text = |pointer| pod::text(json, pointer).filter(|text| !text.is_empty()).map(str::to_owned);
        let name = text("/metadata/name").or_else(|| Some(format!("{}*", text("/metadata/generateName")?)));
        let namespace = text("/metadata/namespace").or_else(|| self.offline.namespace.clone());
        Place {
            file: file.name.clone(),
            line: document.line,
            object,
            workload,
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            name: name.unwrap_or_else(|| "(no name)".to_owned()),
        }
    }

    /// What the webhook says about the pod at `place`.
    #[must_use]
    pub fn decide(&self, place: &Place, pod: &Value) -> Decision {
        if EXEMPT.contains(&place.namespace.as_str()) {
            let message = format!("the webhook is never called for pods of {}", place.namespace);
            return Decision { message, ..Decision::pass(Reason::NotAsked) };
        }
        let namespace = Namespace::new(&place.namespace, &self.offline.annotations);
        let situation = Situation {
            mode: self.offline.mode,
            namespace: &namespace,
            config: self.config,
            rendering: &self.rendering,
            accepted: &[],
        };
        let decision = mutate::mutate(&situation, &request(place, pod));
        if decision.reason == Reason::NotAsked {
            return Decision { message: self.not_asked(), ..decision };
        }
        decision
    }

    /// Why the webhook would not even be called, and what to do where it should be.
    fn not_asked(&self) -> String {
        match self.offline.mode {
            Mode::Disabled => format!("the namespace is labelled {INJECT_LABEL}=disabled"),
            _ => format!(
                "neither namespace nor pod asks for the sidecar: label the namespace {INJECT_LABEL}=enabled or required, or \
                 the pod {INJECT_LABEL}=true"
            ),
        }
    }

    /// What the webhook says about the pod at `place`, and the document with what it changes.
    #[must_use]
    pub fn inject(&self, place: &Place, document: &mut Value) -> Decision {
        let pointer = format!("{}{}", place.object, place.workload.pointer);
        let Some(pod) = document.pointer_mut(&pointer) else {
            return Refusal::new(Reason::Malformed, "there is no pod in it").into();
        };
        let decision = self.decide(place, pod);
        match json_patch::patch(pod, &decision.patch) {
            Ok(()) => decision,
            // The API server would say the same of the patch, and refuse the pod.
            Err(error) => Refusal::new(Reason::Malformed, format!("the pod can't be patched: {error}")).into(),
        }
    }
}

/// A text that others wrote, for a terminal: without characters that would move its cursor or start another line.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The warnings of a decision that its message does not say already.
pub fn more_warnings(decision: &Decision) -> impl Iterator<Item = &String> {
    decision.warnings.iter().filter(|warning| **warning != decision.message)
}

fn request(place: &Place, pod: &Value) -> Request {
    Request {
        uid: String::new(),
        kind: "v1/Pod".to_owned(),
        resource: "pods".to_owned(),
        sub_resource: String::new(),
        namespace: place.namespace.clone(),
        name: String::new(),
        operation: "CREATE".to_owned(),
        dry_run: true,
        object: pod.clone(),
        old_object: Value::Null,
    }
}

/// The workloads of a document and where they stand in it: itself, or the items of a List, also of Lists in Lists.
fn workloads(document: &Value) -> Vec<(String, Workload)> {
    let kind = pod::text(document, "/kind").unwrap_or_default();
    let Some(of) = kind.strip_suffix("List") else {
        return Workload::of(document).map(|workload| (String::new(), workload)).into_iter().collect();
    };
    let mut found = Vec::new();
    for (index, item) in pod::elements(document, "items").enumerate() {
        let at = format!("/items/{index}");
        if item.get("kind").is_none() {
            // The items of a PodList as the API returns it don't repeat what they are.
            found.extend(Workload::of_kind(of).map(|workload| (at, workload)));
        } else {
            found.extend(workloads(item).into_iter().map(|(pointer, workload)| (at.clone() + &pointer, workload)));
        }
    }
    found
}

/// Whether an object of a kind that is not known here makes pods all the same: its pods meet the webhook when they are
/// created, and not before.
#[must_use]
pub fn unknown_template(object: &Value) -> Option<String> {
    let kind = pod::text(object, "/kind")?;
    let makes_pods = object.pointer("/spec/template/spec/containers").is_some();
    (makes_pods && Workload::of(object).is_none()).then(|| {
        let name = pod::text(object, "/metadata/name").unwrap_or("(no name)");
        format!("{kind} {name} has a pod template and is not a kind that is known here: it stays as it is")
    })
}

/// Reads files, all of them or none.
///
/// # Errors
/// The first file that can't be read, with the line.
pub fn read(sources: &[Source]) -> anyhow::Result<Vec<File>> {
    sources.iter().map(read_one).collect()
}

fn read_one(source: &Source) -> anyhow::Result<File> {
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let name = match source {
        Source::Stdin => {
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes).context("stdin")?;
            "stdin".to_owned()
        }
        Source::File(path) => {
            let name = path.display().to_string();
            anyhow::ensure!(!path.is_dir(), "{name} is a directory; name its files, each with -f");
            let file = std::fs::File::open(path).with_context(|| name.clone())?;
            file.take(limit).read_to_end(&mut bytes).with_context(|| name.clone())?;
            name
        }
    };
    let documents = documents::read(&bytes).with_context(|| name.clone())?;
    Ok(File { name, documents })
}
