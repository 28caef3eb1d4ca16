//! An API server with manifests/base, and one replica of the program, both ended when it is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandgate_testkit::api_server::{ApiServer, Kubectl, kustomize};
use serde_json::Value;

/// Generous, because tests share their machine.
const DEADLINE: Duration = Duration::from_secs(60);
const CONFIG: &str = "server: {listen: '127.0.0.1:0', adminListen: '127.0.0.1:0'}\ndns: {servers: [10.96.0.10]}\n";

pub(crate) struct Cluster {
    program: Child,
    _server: ApiServer,
    /// A cluster admin.
    pub(crate) admin: Kubectl,
    /// Has ClusterRole `edit` everywhere, and may debug and resize pods.
    pub(crate) edit: Kubectl,
    /// Has ClusterRole `sandgate-policy-editor` everywhere, and `view`.
    pub(crate) editor: Kubectl,
}

/// manifests/.
pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let server = ApiServer::start();
        let admin = server.user("ada", &["system:masters"]);
        let base = kustomize(&manifests().join("base")).unwrap();
        admin.run_with(&["apply", "-f", "-"], &base).unwrap();
        // The way from the API server to this process; the certificate is verified for the Service's name all the same.
        let service = ["-n", "sandgate-system", "delete", "service", "sandgate-webhook"];
        admin.run(&service).unwrap();
        let outside = ["create", "service", "externalname", "sandgate-webhook", "--external-name=localhost"];
        admin.run(&[&["-n", "sandgate-system"], &outside[..]].concat()).unwrap();
        let (program, port) = serve(&server);
        let entries = base.split("\n---\n").filter(|text| text.contains("WebhookConfiguration\n"));
        let entries = entries.collect::<Vec<_>>().join("\n---\n").replace("port: 443", &format!("port: {port}"));
        admin.run_with(&["apply", "-f", "-"], &entries).unwrap();

        let (edit, editor) = (server.user("ed", &[]), server.user("pol", &[]));
        let cluster = Self { program, _server: server, admin, edit, editor };
        cluster.grant();
        cluster.wait();
        cluster
    }

    fn grant(&self) {
        let both = "--resource=pods/resize,pods/ephemeralcontainers";
        self.admin.run(&["create", "clusterrole", "debug-and-resize", "--verb=get,patch", both]).unwrap();
        // `edit` is the sum of the first two; here is no controller that adds them up.
        for (user, role) in [
            ("ed", "system:aggregate-to-edit"),
            ("ed", "system:aggregate-to-view"),
            ("ed", "debug-and-resize"),
            ("pol", "system:aggregate-to-view"),
            ("pol", "sandgate-policy-editor"),
        ] {
            let name = format!("{user}-{}", role.replace(':', "-"));
            let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
            self.admin.run(&["create", "clusterrolebinding", &name, &role, &user]).unwrap();
        }
    }

    /// Until the replica serves with a certificate that the API server trusts, and policies are in force.
    fn wait(&self) {
        self.namespace("wait", "required");
        let deadline = Instant::now() + DEADLINE;
        let created = || {
            self.create(&self.edit, "wait", "apiVersion: v1\nkind: Pod\nmetadata: {name: any}\nspec: {containers: [{name: workload, image: any}]}\n")
        };
        while let Err(error) = created() {
            assert!(Instant::now() < deadline, "{error}");
        }
        let enter = ["-n", "wait", "exec", "any", "-c", "auth-proxy", "--", "true"];
        while !self.edit.run(&enter).is_err_and(|error| error.contains("sidecar-entered.sandgate.dev")) {
            assert!(Instant::now() < deadline, "the admission policies are not in force");
        }
    }

    /// A namespace with a label (none if empty), where pods can be created.
    pub(crate) fn namespace(&self, name: &str, label: &str) {
        let labels = if label.is_empty() { String::new() } else { format!("sandgate.dev/inject: {label}") };
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {name}}}\n"
        );
        self.admin.run_with(&["apply", "-f", "-"], &manifest).unwrap();
    }

    pub(crate) fn create(&self, user: &Kubectl, namespace: &str, manifest: &str) -> Result<String, String> {
        user.run_with(&["-n", namespace, "create", "-f", "-"], manifest)
    }

    /// A pod as it is in the cluster.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Value {
        serde_json::from_str(&self.admin.run(&["-n", namespace, "get", "pod", name, "-o", "json"]).unwrap()).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _gone = self.program.kill();
        let _status = self.program.wait();
    }
}

/// Starts the program as the ServiceAccount of the manifests; with the port where it answers reviews.
fn serve(server: &ApiServer) -> (Child, u64) {
    let account = "system:serviceaccount:sandgate-system:sandgate-webhook";
    let groups = ["system:serviceaccounts", "system:serviceaccounts:sandgate-system"];
    let config = server.directory().join("config.yaml");
    fs::write(&config, CONFIG).unwrap();
    // It ends with this thread, also when nobody drops it.
    let mut program = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_sandgate-webhook")])
        .args(["serve", "--namespace=sandgate-system", "--pod-name=webhook-0", "--config"])
        .arg(&config)
        .env("KUBECONFIG", server.kubeconfig(account, &groups))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let started = lines.by_ref().map(Result::unwrap).find(|line| line.contains("\"admin\""));
    let started: Value = serde_json::from_str(&started.expect("it says where it listens")).unwrap();
    let port = started["listen"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    // Nothing may block it, and a test that fails shows what it said.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
    (program, port)
}
