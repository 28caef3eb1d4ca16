//! API servers with the manifests applied and the webhook behind its Service; a namespace for each test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use sandgate_testkit::api_server::{ApiServer, kustomize};
use sandgate_testkit::client::http_get;
use sandgate_webhook::cluster::client_of;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::answer::Answer;
use crate::kubectl::Kubectl;
use crate::program::Program;
use crate::service::Service;

/// How long anything may take that is not timed by its test. The machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);

/// The configuration of the manifests with what a process on loopback needs, and `sidecar` on top.
pub(crate) fn config(sidecar: &str) -> String {
    format!(
        "server: {{listen: '127.0.0.1:0', adminListen: '127.0.0.1:0', drainDelay: 6s, drainGrace: 20s}}\n\
         dns: {{servers: [10.96.0.10]}}\n{sidecar}"
    )
}

/// All that waits runs here, for it outlives each test.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

pub(crate) struct Stage {
    server: ApiServer,
    client: Client,
    kubeconfig: PathBuf,
    files: PathBuf,
    pub(crate) service: Service,
    pub(crate) programs: Vec<Program>,
    pub(crate) admin: Kubectl,
}

impl Stage {
    /// One for all tests that only create things in namespaces of their own. Its sidecar may be preceded by `early`.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Stage> = OnceLock::new();
        SHARED.get_or_init(|| {
            let mut stage = Self::start();
            stage.serve("shared", &config("sidecar: {mayPrecede: [early]}\n"));
            stage
        })
    }

    /// Another for tests that count calls, or end the webhook: one after the other. One process with the default
    /// configuration is ready.
    pub(crate) fn alone() -> MutexGuard<'static, Self> {
        static ALONE: LazyLock<Mutex<Stage>> = LazyLock::new(|| Mutex::new(Stage::start()));
        let mut stage = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        stage.end_all();
        stage.apply();
        stage.serve("alone", &config(""));
        stage
    }

    fn start() -> Self {
        let server = ApiServer::start();
        let kubeconfig =
            server.kubeconfig("system:serviceaccount:sandgate-system:sandgate-webhook", &["system:serviceaccounts"]);
        let files = server.directory().to_owned();
        let admin = Kubectl { kubeconfig: server.admin(), cache: files.join("cache") };
        let client = RUNTIME.block_on(client(&admin.kubeconfig));
        let stage = Self { server, client, kubeconfig, files, service: Service::open(), programs: Vec::new(), admin };
        stage.apply();
        let account = json!({"metadata": {"name": "default"}});
        for namespace in ["kube-system", "sandgate-system"] {
            eventually("the namespace is there", || {
                let answer = stage.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account);
                if answer.is_accepted() { Ok(()) } else { Err(answer.message().to_owned()) }
            });
        }
        stage
    }

    /// `kubectl kustomize manifests/base | kubectl apply -f -`, with the Service leading to this process.
    pub(crate) fn apply(&self) {
        static BASE: LazyLock<String> =
            LazyLock::new(|| kustomize(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base")).unwrap());
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: sandgate-webhook, namespace: sandgate-system}}\n\
             spec: {{type: ExternalName, externalName: localhost, ports: [{{port: {}}}]}}\n",
            self.service.port
        );
        let port = format!("port: {}\n", self.service.port);
        let documents = BASE.split("\n---\n").map(|document| {
            if document.contains("\nkind: Service\n") {
                service.clone()
            } else {
                document.replace("port: 443\n", &port)
            }
        });
        self.admin.run_with("apply -f -", &documents.collect::<Vec<_>>().join("\n---\n")).accepted();
    }

    /// Starts a process behind the Service that stays there, and waits until it is ready.
    pub(crate) fn serve(&mut self, name: &str, config: &str) {
        let program = self.program(name, config);
        self.programs.push(program);
    }

    /// Starts a process behind the Service, and waits until it is ready.
    pub(crate) fn program(&self, name: &str, config: &str) -> Program {
        let program = Program::start(&self.files, name, &self.kubeconfig, config);
        self.service.add(&program);
        eventually("it is ready", || if self.service.is_ready(&program) { Ok(()) } else { Err(program.log()) });
        program
    }

    /// The CA that the replicas agreed on, as PEM.
    pub(crate) fn serving_roots(&self) -> String {
        let secret = self.get("/api/v1/namespaces/sandgate-system/secrets/sandgate-webhook-ca");
        let encoded = secret.accepted()["data"]["ca.crt"].as_str().unwrap();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    }

    /// Kills all processes: the webhook is down.
    pub(crate) fn end_all(&mut self) {
        for program in self.programs.drain(..) {
            self.service.remove(&program);
        }
    }

    /// A user with a group.
    pub(crate) fn user(&self, name: &str, groups: &[&str]) -> Kubectl {
        Kubectl { kubeconfig: self.server.kubeconfig(name, groups), cache: self.files.join("cache") }
    }

    /// POST to the API server as its admin.
    pub(crate) fn post(&self, path: &str, object: &Value) -> Answer {
        self.send("POST", path, "application/json", object)
    }

    /// A merge patch.
    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Answer {
        self.send("PATCH", path, "application/merge-patch+json", patch)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Vec::new().into()).unwrap();
        RUNTIME.block_on(async { Answer::read(self.client.send(request).await.unwrap()).await })
    }

    fn send(&self, method: &str, path: &str, content: &str, object: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let request = request.body(object.to_string().into_bytes().into()).unwrap();
        RUNTIME.block_on(async { Answer::read(self.client.send(request).await.unwrap()).await })
    }

    /// A namespace with this label (none if empty).
    pub(crate) fn namespace(&self, name: &str, inject: &str) -> Space<'_> {
        let labels = if inject.is_empty() { json!({}) } else { json!({"sandgate.dev/inject": inject}) };
        self.namespace_with(name, labels, json!({}))
    }

    /// A namespace with the ServiceAccount that its pods need.
    pub(crate) fn namespace_with(&self, name: &str, labels: Value, annotations: Value) -> Space<'_> {
        let namespace = json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}});
        self.post("/api/v1/namespaces", &namespace).accepted();
        let space = Space { stage: self, name: name.to_owned() };
        space.create("serviceaccounts", &json!({"metadata": {"name": "default"}})).accepted();
        space
    }

    /// How many reviews were answered by all processes, as `PATH/MODE OUTCOME REASON`.
    pub(crate) fn reviews(&self) -> BTreeMap<String, u64> {
        let mut reviews = BTreeMap::new();
        for program in &self.programs {
            let metrics = RUNTIME.block_on(http_get(program.admin, "/metrics")).unwrap().text();
            for line in metrics.lines().filter_map(|line| line.strip_prefix("sandgate_webhook_admissions_total{")) {
                let (labels, count) = line.split_once("} ").unwrap();
                let labels: BTreeMap<&str, &str> =
                    labels.split(',').filter_map(|label| label.split_once('=')).collect();
                let label = |name: &str| labels[name].trim_matches('"');
                let key = format!("{}/{} {} {}", label("path"), label("mode"), label("outcome"), label("reason"));
                *reviews.entry(key).or_default() += count.parse::<u64>().unwrap();
            }
        }
        reviews
    }

    /// The reviews that came while `action` ran, each as often as it came.
    pub(crate) fn reviews_of<T>(&self, action: impl FnOnce() -> T) -> (T, Vec<String>) {
        let before = self.reviews();
        let result = action();
        let mut came = Vec::new();
        for (review, count) in self.reviews() {
            let more = count - before.get(&review).copied().unwrap_or_default();
            came.extend((0..more).map(|_| review.clone()));
        }
        (result, came)
    }
}

/// A namespace of one test.
pub(crate) struct Space<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) name: String,
}

impl Space<'_> {
    /// The path of objects in it.
    pub(crate) fn path(&self, resource: &str) -> String {
        let api = match resource.split('/').next().unwrap_or_default().split('?').next().unwrap_or_default() {
            "deployments" => "/apis/apps/v1",
            "rolebindings" | "roles" => "/apis/rbac.authorization.k8s.io/v1",
            _ => "/api/v1",
        };
        format!("{api}/namespaces/{}/{resource}", self.name)
    }

    pub(crate) fn create(&self, resource: &str, object: &Value) -> Answer {
        self.stage.post(&self.path(resource), object)
    }

    pub(crate) fn pod(&self, pod: &Value) -> Answer {
        self.create("pods", pod)
    }

    /// As an admin, in this namespace.
    pub(crate) fn kubectl(&self, line: &str) -> crate::kubectl::Printed {
        self.stage.admin.run(&format!("-n {} {line}", self.name))
    }

    /// The same, with `input` for `-f -`.
    pub(crate) fn kubectl_with(&self, line: &str, input: &str) -> crate::kubectl::Printed {
        self.stage.admin.run_with(&format!("-n {} {line}", self.name), input)
    }
}

/// A pod that says nothing of ours.
pub(crate) fn plain(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "workload", "image": "busybox"}]}})
}

/// A pod with this label.
pub(crate) fn labelled(name: &str, inject: &str) -> Value {
    let mut pod = plain(name);
    pod["metadata"]["labels"] = json!({"sandgate.dev/inject": inject});
    pod
}

/// The container with this name in a list of a pod.
pub(crate) fn container<'a>(pod: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    pod["spec"][list].as_array()?.iter().find(|container| container["name"] == name)
}

/// Asserts that a pod has the sidecar first, and that each other container has the environment and the trust files.
#[track_caller]
pub(crate) fn is_injected(pod: &Value) {
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "auth-proxy", "{pod}");
    assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always", "{pod}");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            assert!(container["name"] == "auth-proxy" || is_equipped(container), "{container}");
        }
    }
}

/// Whether a container has the environment and the trust files.
pub(crate) fn is_equipped(container: &Value) -> bool {
    let has = |list: &str, field: &str, value: &str| {
        container[list].as_array().is_some_and(|all| all.iter().any(|one| one[field] == value))
    };
    has("env", "name", "HTTPS_PROXY")
        && has("env", "name", "https_proxy")
        && has("volumeMounts", "mountPath", "/etc/proxy-ca")
}

/// Looks at a condition until it is so; panics with the last reason after the deadline.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
    within(DEADLINE, what, condition)
}

/// The same with a deadline of its own.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < limit, "not within {limit:?}: {what}: {why}"),
        }
        std::thread::park_timeout(POLL);
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    client_of(config).unwrap()
}
