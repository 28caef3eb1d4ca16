//! One API server for all of these tests, with manifests/base applied; and a namespace for each test.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sandgate_testkit::api_server::{ApiServer, Kubectl};

/// Generous, because tests share their machine; policies take effect within a second.
const DEADLINE: Duration = Duration::from_secs(60);

/// The people of these tests.
pub(crate) struct Cluster {
    pub(crate) server: &'static ApiServer,
    /// A cluster admin by RBAC (`cluster-admin`).
    pub(crate) admin: Kubectl,
    /// Has ClusterRole `edit` in each test's namespace, and may debug and resize pods there.
    pub(crate) edit: Kubectl,
    /// Has ClusterRole `sandgate-policy-editor` in each test's namespace, and `view`.
    pub(crate) editor: Kubectl,
}

impl Cluster {
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let server = ApiServer::shared();
            let cluster = Self {
                server,
                // Not of system:masters, whom no authorizer is asked about.
                admin: server.user("ada", &["platform"]),
                edit: server.user("ed", &["builders"]),
                editor: server.user("pol", &["policy-editors"]),
            };
            cluster.prepare();
            cluster
        })
    }

    fn prepare(&self) {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base");
        let root = self.server.user("root", &["system:masters"]);
        root.run(&["create", "clusterrolebinding", "platform", "--clusterrole=cluster-admin", "--group=platform"])
            .unwrap();
        // Not in `edit` of Kubernetes 1.36, but often granted beside it.
        let both = "--resource=pods/resize,pods/ephemeralcontainers";
        root.run(&["create", "clusterrole", "debug-and-resize", "--verb=get,patch", both]).unwrap();
        root.run(&["apply", "-k", base.to_str().unwrap()]).unwrap();
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            root.run(&["delete", kind, "sandgate-webhook"]).unwrap();
        }
        let namespace = self.namespace("prepare", "required");
        let pod = namespace.pod("probe", "");
        let active = [
            ("sidecar-present", &["run", "plain", "--image=any"][..]),
            ("sidecar-unchanged", &["set", "image", "pod/probe", "auth-proxy=other"]),
            ("sidecar-entered", &["exec", "probe", "-c", "auth-proxy", "--", "true"]),
            ("policies", &["create", "configmap", "sandgate-policy"]),
        ];
        let deadline = Instant::now() + DEADLINE;
        self.edit.run_with(&["create", "-f", "-"], &pod).unwrap();
        for (policy, arguments) in active {
            let arguments = [&["-n", "prepare"], arguments].concat();
            let expected = format!("ValidatingAdmissionPolicy '{policy}.sandgate.dev'");
            while !self.edit.run(&arguments).is_err_and(|error| error.contains(&expected)) {
                assert!(Instant::now() < deadline, "{policy} is not in force");
                // What was let through once may be in the way of the next try.
                let _absent = self.admin.run(&["-n", "prepare", "delete", "pod", "plain", "--now"]);
                let _absent = self.admin.run(&["-n", "prepare", "delete", "configmap", "sandgate-policy"]);
                let _changed = self.admin.run(&["-n", "prepare", "set", "image", "pod/probe", "auth-proxy=any"]);
            }
        }
    }

    /// A namespace with a label (none if empty), a ServiceAccount for pods, and rights of `edit` and `editor` in it.
    pub(crate) fn namespace(&self, name: &str, label: &str) -> Namespace<'_> {
        let namespace = Namespace { cluster: self, name: name.to_owned() };
        let labels = if label.is_empty() { "{}".to_owned() } else { format!("{{sandgate.dev/inject: {label}}}") };
        // `edit` is the sum of these two; here is no controller that adds them up.
        let bindings = [
            ("system:aggregate-to-edit", "ed"),
            ("system:aggregate-to-view", "ed"),
            ("debug-and-resize", "ed"),
            ("system:aggregate-to-view", "pol"),
            ("sandgate-policy-editor", "pol"),
        ];
        let mut manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {name}}}\n"
        );
        for (number, (role, user)) in bindings.iter().enumerate() {
            manifest += &format!(
                "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
                 metadata: {{name: binding-{number}, namespace: {name}}}\n\
                 roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: '{role}'}}\n\
                 subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]\n"
            );
        }
        self.admin.run_with(&["apply", "-f", "-"], &manifest).unwrap();
        namespace
    }
}

/// One test's namespace.
pub(crate) struct Namespace<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
}

impl<'a> Namespace<'a> {
    /// As `user`, in this namespace.
    pub(crate) fn run(&self, user: &Kubectl, arguments: &[&str]) -> Result<String, String> {
        user.run(&[&["-n", &self.name], arguments].concat())
    }

    /// Creates what a manifest says, as `user`.
    pub(crate) fn create(&self, user: &Kubectl, manifest: &str) -> Result<String, String> {
        user.run_with(&["-n", &self.name, "create", "-f", "-"], manifest)
    }

    /// A pod with a native sidecar `auth-proxy`, and what else its `metadata` shall have.
    pub(crate) fn pod(&self, name: &str, metadata: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {}, {metadata}}}\nspec:\n  \
             initContainers:\n  - {{name: auth-proxy, image: any, restartPolicy: Always, \
             resources: {{requests: {{cpu: 10m, memory: 32Mi}}, limits: {{cpu: '1', memory: 128Mi}}}}}}\n  \
             - {{name: setup, image: any}}\n  containers:\n  - {{name: workload, image: any, \
             resources: {{requests: {{cpu: 10m}}}}}}\n  volumes:\n  - {{name: sandgate-ca, emptyDir: {{}}}}\n  \
             - {{name: sandgate-trust, emptyDir: {{}}}}\n",
            self.name
        )
    }

    /// Both who may build pods, and who may do everything: what is refused here is refused to both.
    pub(crate) fn everybody(&self) -> [&'a Kubectl; 2] {
        [&self.cluster.edit, &self.cluster.admin]
    }
}

/// Asserts that a policy refused, with a message that has these parts.
#[track_caller]
pub(crate) fn refused(result: Result<String, String>, policy: &str, parts: &[&str]) {
    let error = result.expect_err("it has to be refused");
    let by = format!("ValidatingAdmissionPolicy '{policy}.sandgate.dev'");
    for part in [&[by.as_str()], parts].concat() {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}
