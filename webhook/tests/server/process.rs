//! The program itself, called by a real API server through a Service: from its start to its end by a signal.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandgate_testkit::api_server::ApiServer;
use sandgate_testkit::client::http_get;
use sandgate_webhook::cluster::client_of;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::DEADLINE;

const CONFIG: &str = "server: {listen: '127.0.0.1:0', adminListen: '127.0.0.1:0', drainDelay: 2s, drainGrace: 20s}\n\
                      dns: {servers: [10.96.0.10]}\n";
const SYSTEM: &str = "sandgate-system";

/// The program, killed when it is dropped.
struct Program {
    child: Child,
    /// Where reviews are answered, and the admin port.
    addresses: (SocketAddr, SocketAddr),
}

impl Program {
    fn start(directory: &Path, kubeconfig: &Path) -> Self {
        let config = directory.join("config.yaml");
        fs::write(&config, CONFIG).unwrap();
        let mut child = ours(env!("CARGO_BIN_EXE_sandgate-webhook"))
            .args(["serve", "--namespace", SYSTEM, "--pod-name", "webhook-0", "--config"])
            .arg(&config)
            .env("KUBECONFIG", kubeconfig)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = lines.by_ref().map(|line| line.unwrap()).find(|line| line.contains("\"admin\""));
        let started: Value = serde_json::from_str(&started.expect("it says where it listens")).unwrap();
        let address = |field: &str| started[field].as_str().unwrap().parse().unwrap();
        let addresses = (address("listen"), address("admin"));
        // Nothing may block it, and a failed test shows what it said.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Self { child, addresses }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    async fn readiness(&self) -> u16 {
        http_get(self.addresses.1, "/readyz").await.map_or(0, |fetched| fetched.status.as_u16())
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it has not ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program whose files in /proc would not be root's: under root, in a group that is nobody's.
fn ours(program: &str) -> Command {
    let mut command = Command::new(program);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.gid(65532);
    }
    command
}

/// Whom the kernel names as owner of a process's memory: its user and group, or root and root where it is undumpable.
fn owner(process: &Child) -> (u32, u32) {
    let memory = fs::metadata(format!("/proc/{}/mem", process.id())).unwrap();
    (memory.uid(), memory.gid())
}

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

async fn client(kubeconfig: &PathBuf) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    client_of(config).unwrap()
}

/// The webhook's namespace, with a Service that leads to this machine, and a namespace that requires the sidecar.
async fn prepare(client: &Client) {
    let create = PostParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&create, &from(json!({"metadata": {"name": SYSTEM}}))).await.unwrap();
    let team = json!({"metadata": {"name": "team", "labels": {"sandgate.dev/inject": "required"}}});
    namespaces.create(&create, &from(team)).await.unwrap();
    let account = json!({"metadata": {"name": "default"}});
    Api::<ServiceAccount>::namespaced(client.clone(), "team").create(&create, &from(account)).await.unwrap();
    let map = json!({"metadata": {"name": "sandgate-renderings"}});
    Api::<ConfigMap>::namespaced(client.clone(), SYSTEM).create(&create, &from(map)).await.unwrap();
    let service = json!({"metadata": {"name": "sandgate-webhook"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 443}]}});
    Api::<Service>::namespaced(client.clone(), SYSTEM).create(&create, &from(service)).await.unwrap();
}

/// Both configurations, for the required namespace's pods, with the port of the program.
async fn configure(client: &Client, port: u16) {
    let entry = |name: &str, path: &str| {
        json!({
            "name": format!("required.{name}.sandgate.dev"),
            "clientConfig": {"service": {"name": "sandgate-webhook", "namespace": SYSTEM, "path": path, "port": port}},
            "namespaceSelector": {"matchLabels": {"sandgate.dev/inject": "required"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 5,
        })
    };
    let object =
        |name: &str, path: &str| json!({"metadata": {"name": "sandgate-webhook"}, "webhooks": [entry(name, path)]});
    let create = PostParams::default();
    let mutating: MutatingWebhookConfiguration = from(object("inject", "/mutate/required"));
    Api::all(client.clone()).create(&create, &mutating).await.unwrap();
    let validating: ValidatingWebhookConfiguration = from(object("validate", "/validate/required"));
    Api::all(client.clone()).create(&create, &validating).await.unwrap();
}

fn pod(name: &str) -> Pod {
    from(json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "workload", "image": "workload:1",
            "securityContext": {"allowPrivilegeEscalation": false}}]}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_gets_its_answers_from_the_start_to_the_end_by_a_signal() {
    let api_server = ApiServer::start();
    let client = client(&api_server.admin()).await;
    prepare(&client).await;
    let directory = tempfile::tempdir().unwrap();
    let mut program = Program::start(directory.path(), &api_server.admin());
    assert_eq!(program.readiness().await, 503, "without configurations nothing verifies its certificate");
    configure(&client, program.addresses.0.port()).await;
    let deadline = Instant::now() + DEADLINE;
    while program.readiness().await != 200 {
        assert!(Instant::now() < deadline, "it is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let pods: Api<Pod> = Api::namespaced(client.clone(), "team");
    let made = created(&pods, "first").await;
    let sidecar = &made.spec.unwrap().init_containers.unwrap()[0];
    assert_eq!((sidecar.name.as_str(), sidecar.restart_policy.as_deref()), ("auth-proxy", Some("Always")));
    let mut evading = pod("evading");
    evading.spec.as_mut().unwrap().host_network = Some(true);
    let refused = pods.create(&PostParams::default(), &evading).await.unwrap_err().to_string();
    assert!(refused.contains("admission webhook \"required.inject.sandgate.dev\" denied the request: "), "{refused}");

    fs::write(directory.path().join("config.yaml"), format!("{CONFIG}sidecar: {{image: 'other:2'}}\n")).unwrap();
    let deadline = Instant::now() + DEADLINE;
    for number in 0.. {
        assert!(Instant::now() < deadline, "the new configuration is not used");
        let made = created(&pods, &format!("reloaded-{number}")).await;
        if made.spec.unwrap().init_containers.unwrap()[0].image.as_deref() == Some("other:2") {
            break;
        }
    }
    let published = Api::<ConfigMap>::namespaced(client.clone(), SYSTEM).get("sandgate-renderings").await.unwrap();
    assert_eq!(published.data.unwrap().len(), 2, "the old one stays genuine for the pods that have it");

    program.signal(Signal::SIGTERM);
    let deadline = Instant::now() + DEADLINE;
    while program.readiness().await == 200 {
        assert!(Instant::now() < deadline, "it is still ready");
    }
    // Not ready, it answers on for the drain's delay: no proxy has heard of it yet.
    created(&pods, "while-draining").await;
    let status = program.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

/// A pod, which may have to wait for the API server to hear of the caBundle that the program wrote.
async fn created(pods: &Api<Pod>, name: &str) -> Pod {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match pods.create(&PostParams::default(), &pod(name)).await {
            Ok(made) => return made,
            Err(error) if error.to_string().contains("certificate signed by unknown authority") => {
                assert!(Instant::now() < deadline, "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_memory_of_serve_with_the_cas_key_in_it_is_roots_alone() {
    let mut other = ours("cat").stdin(Stdio::piped()).spawn().unwrap();
    let plain = owner(&other);
    assert_ne!(plain, (0, 0), "a program that hides nothing is its user's, or this test would show nothing");
    drop(other.stdin.take());
    other.wait().unwrap();

    let directory = tempfile::tempdir().unwrap();
    // Nobody answers at the API server's port: it serves on, and asks again and again.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let server = format!("http://{}", nobody.local_addr().unwrap());
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "users": [{"name": "x", "user": {}}]});
    fs::write(&kubeconfig, text.to_string()).unwrap();
    let program = Program::start(directory.path(), &kubeconfig);
    assert_eq!(owner(&program.child), (0, 0));
}

#[tokio::test]
async fn what_cannot_start_says_why_and_which_setting_to_change() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let run = |text: &str| {
        let config = directory.path().join("config.yaml");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandgate-webhook"));
        command.args(["serve", "--namespace", SYSTEM, "--pod-name", "webhook-0", "--config"]).arg(&config);
        let output = command.env("KUBECONFIG", "/nowhere").env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let address = taken.local_addr().unwrap();
    for (text, code, words) in [
        (
            format!("server: {{listen: '{address}'}}\ndns: {{servers: [10.0.0.1]}}\n"),
            1,
            "server.listen: can't listen on",
        ),
        (
            "server: {listen: '127.0.0.1:0', adminListen: '127.0.0.1:0'}\ndns: {servers: [10.0.0.1]}\n".to_owned(),
            1,
            "no access to the API server",
        ),
        ("sidecar: {imgae: x}\n".to_owned(), 64, "imgae"),
    ] {
        let (found, stderr) = run(&text);
        assert_eq!(found, Some(code), "{text}: {stderr}");
        assert!(stderr.contains(words), "{text}: {stderr}");
    }
}
