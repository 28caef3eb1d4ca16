//! Pods as large as an API server takes them, each long where its author may choose: what a decision that is quadratic in
//! something would take minutes for. Used by the test of that name and by the benchmark.

use sandgate_contract::{CONTAINER_NAME, TRUST_DIR};
use sandgate_webhook::admission::Request;
use sandgate_webhook::config::Config;
use sandgate_webhook::names::{TRUST_VOLUME, VOLUMES};
use sandgate_webhook::rendering::Rendering;
use serde_json::{Value, json};

/// What an API server takes at most: etcd's `--max-request-bytes`.
const MOST: usize = 1536 * 1024;
/// As many renderings as are published at once.
const RENDERINGS: usize = 16;

/// A configuration that tolerates something, for pods that make use of it.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.sidecar.tolerated_env = vec!["DD_AGENT_HOST".to_owned()];
    config.sidecar.tolerated_mounts = vec!["datadog".to_owned()];
    config.sidecar.withdrawn_renderings = vec!["0123456789ab".to_owned()];
    config
}

/// Earlier renderings, all of which make the container of `rendering`: none is ruled out by a short look.
pub(crate) fn accepted(rendering: &Rendering) -> Vec<Rendering> {
    let version = |number| Rendering { version: format!("0.0.{number}"), ..rendering.clone() };
    (0..RENDERINGS).map(version).collect()
}

/// The review of a new pod.
pub(crate) fn created(pod: Value) -> Request {
    let text = str::to_owned;
    Request {
        uid: text("1"),
        kind: text("v1/Pod"),
        resource: text("pods"),
        sub_resource: String::new(),
        namespace: text("team"),
        name: text("pod"),
        operation: text("CREATE"),
        dry_run: false,
        object: pod,
        old_object: Value::Null,
    }
}

/// The review of ephemeral containers in a running pod.
fn debugged(pod: Value, old: Value) -> Request {
    let (sub_resource, operation) = ("ephemeralcontainers".to_owned(), "UPDATE".to_owned());
    Request { sub_resource, operation, old_object: old, ..created(pod) }
}

/// Policies with something wrong in every line, as long as a ConfigMap may be.
pub(crate) fn policies() -> Vec<(&'static str, Request)> {
    let list =
        |line: &dyn Fn(usize) -> String| format!("version: 1\ndestinations:\n{}", words(MOST * 2 / 3, "\n", line));
    let long_list = words(MOST / 2, ", ", &|number| number.to_string());
    let texts = [
        ("a policy of misspelt fields", list(&|number| format!("  - {{hosst{number}: a.example}}"))),
        ("a policy of one id", list(&|_| "  - {id: a, host: a.example}".to_owned())),
        ("a policy of hosts", list(&|number| format!("  - {{id: i{number}, host: h{number}.example.com}}"))),
        ("a policy of one host", list(&|number| format!("  - {{id: i{number}, host: '*.example.com'}}"))),
        ("a policy of fields given twice", words(MOST * 2 / 3, "\n", &|_| "version: 1".to_owned())),
        ("a policy of fields", words(MOST * 2 / 3, "\n", &|number| format!("version{number}: 1"))),
        (
            "a policy of ports",
            format!("version: 1\ndestinations:\n  - {{id: a, host: a.example, ports: [{long_list}]}}"),
        ),
        ("a policy of brackets", "[".repeat(MOST / 2)),
        ("a policy that is none", "x: y: z\n".repeat(MOST / 16)),
    ];
    let review = |text: String| {
        let text = json!({"metadata": {"name": "sandgate-policy"}, "data": {"policy.yaml": text}});
        let (kind, resource) = ("v1/ConfigMap".to_owned(), "configmaps".to_owned());
        Request { kind, resource, name: "sandgate-policy".to_owned(), ..created(text) }
    };
    texts.into_iter().map(|(name, text)| (name, review(text))).collect()
}

/// Every review, by what is long in it.
pub(crate) fn reviews(rendering: &Rendering, injected: &Value) -> Vec<(&'static str, Request)> {
    let mut reviews: Vec<(&'static str, Request)> =
        authored().into_iter().map(|(name, pod)| (name, created(pod))).collect();
    reviews.extend(carried(rendering, injected).into_iter().map(|(name, pod)| (name, created(pod))));
    let debugger = |number: usize| json!({"name": format!("d{number}"), "image": "i"});
    let old = with(injected, "ephemeralContainers", list(MOST / 2, &debugger).into());
    let new = with(injected, "ephemeralContainers", list(MOST, &debugger).into());
    reviews.push(("ephemeral containers, many of them old", debugged(new, old)));
    let few: Vec<Value> = (0..250).map(debugger).collect();
    reviews.push((
        "250 ephemeral containers",
        debugged(with(injected, "ephemeralContainers", few.into()), injected.clone()),
    ));
    reviews
}

/// Elements until they are as much JSON as `bytes`.
fn list(bytes: usize, element: &dyn Fn(usize) -> Value) -> Vec<Value> {
    let mut left = bytes;
    let elements = (0..).map(element);
    elements
        .map_while(|element| {
            left = left.checked_sub(element.to_string().len() + 1)?;
            Some(element)
        })
        .collect()
}

fn many(element: &dyn Fn(usize) -> Value) -> Value {
    list(MOST, element).into()
}

/// Words with `separator` between them.
fn words(bytes: usize, separator: &str, word: &dyn Fn(usize) -> String) -> String {
    list(bytes - bytes / 8, &|number| word(number).into())
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(separator)
}

fn long(length: usize) -> String {
    "x".repeat(length)
}

/// A pod with one container that has these fields.
fn container(fields: Value) -> Value {
    let mut container = json!({"name": "workload", "image": "i"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"metadata": {"name": "pod"}, "spec": {"containers": [container]}})
}

/// The pod with another field in its specification.
fn with(pod: &Value, field: &str, value: Value) -> Value {
    let mut pod = pod.clone();
    pod["spec"][field] = value;
    pod
}

fn variable(name: &str, value: impl Into<Value>) -> Value {
    json!({"name": name, "value": value.into()})
}

fn host(number: usize) -> String {
    format!("h{number}")
}

/// Pods as an author writes them.
#[expect(clippy::too_many_lines, reason = "a table")]
fn authored() -> Vec<(&'static str, Value)> {
    let plain = container(json!({}));
    let tiny = |number: usize| json!({"name": format!("c{number}")});
    let hosts = words(MOST, ",", &host);
    let few_hosts = words(2048, ",", &host);
    let held: Vec<Value> = (0..250)
        .map(|number| json!({"name": format!("c{number}"), "env": [variable("NO_PROXY", few_hosts.clone())]}))
        .collect();
    let mut labels = plain.clone();
    labels["metadata"]["labels"] = (0..60_000).map(|number| (format!("label-{number}"), json!("v"))).collect();
    let mut annotations = plain.clone();
    annotations["metadata"]["annotations"] = (0..30_000)
        .map(|number| (format!("container.apparmor.security.beta.kubernetes.io/{number}"), json!("unconfined")))
        .collect();
    let mut resources = plain.clone();
    let amounts: Value = (0..60_000).map(|number| (format!("amount-{number}"), json!("1"))).collect();
    resources["metadata"]["annotations"] = json!({"sandgate.dev/sidecar-resources": amounts.to_string()});
    let attributes: Value = (0..60_000).map(|number| (format!("secret-{number}"), json!("v"))).collect();
    let half = long(MOST / 2);
    vec![
        ("containers", with(&plain, "containers", many(&tiny))),
        ("init containers", with(&plain, "initContainers", many(&tiny))),
        ("250 containers with NO_PROXY", with(&plain, "containers", held.into())),
        ("variables", container(json!({"env": many(&|number| variable(&format!("V{number}"), "v"))}))),
        ("one variable again and again", container(json!({"env": many(&|_| variable("HTTP_PROXY", "v"))}))),
        ("NO_PROXY again and again", container(json!({"env": many(&|n| variable("NO_PROXY", host(n)))}))),
        (
            "JAVA_TOOL_OPTIONS again and again",
            container(json!({"env": many(&|_| variable("JAVA_TOOL_OPTIONS", "-Xa"))})),
        ),
        (
            "a long NO_PROXY",
            container(json!({"env": [variable("NO_PROXY", hosts.clone()), variable("no_proxy", hosts)]})),
        ),
        ("long JAVA_TOOL_OPTIONS", container(json!({"env": [variable("JAVA_TOOL_OPTIONS", words(MOST, " ", &host))]}))),
        ("envFrom", container(json!({"envFrom": many(&|n| json!({"secretRef": {"name": host(n)}}))}))),
        ("mounts", container(json!({"volumeMounts": many(&|n| json!({"name": "v", "mountPath": format!("/m{n}")}))}))),
        (
            "mounts at the trust path",
            container(
                json!({"volumeMounts": many(&|n| json!({"name": "v", "mountPath": format!("{TRUST_DIR}/{n}")}))}),
            ),
        ),
        ("a long path", container(json!({"volumeMounts": [{"name": "v", "mountPath": "/a/..".repeat(MOST / 8)}]}))),
        (
            "a long name and mounts of ours",
            container(
                json!({"name": half, "volumeMounts": list(MOST / 2, &|_| json!({"name": VOLUMES[1], "mountPath": "/m"}))}),
            ),
        ),
        (
            "a long name and ports",
            container(
                json!({"name": half, "ports": list(MOST / 2, &|_| json!({"containerPort": 15001, "hostPort": 1}))}),
            ),
        ),
        ("ports", container(json!({"ports": many(&|_| json!({"containerPort": 15001, "hostPort": 1}))}))),
        (
            "capabilities",
            container(json!({"securityContext": {"capabilities": {"add": many(&|n| host(n).into()), "drop": []}}})),
        ),
        ("volumes", with(&plain, "volumes", many(&|n| json!({"name": host(n), "emptyDir": {}})))),
        (
            "volumes of the node",
            with(&plain, "volumes", many(&|n| json!({"name": host(n), "hostPath": {"path": "/"}}))),
        ),
        (
            "volumes with one of our names",
            with(&plain, "volumes", many(&|_| json!({"name": VOLUMES[4], "emptyDir": {}}))),
        ),
        (
            "attributes of a volume",
            with(&plain, "volumes", json!([{"name": "v", "csi": {"volumeAttributes": attributes}}])),
        ),
        ("kernel parameters", with(&plain, "securityContext", json!({"sysctls": many(&|n| variable(&host(n), "1"))}))),
        ("labels", labels),
        ("annotations", annotations),
        ("an annotation with resources", resources),
    ]
}

/// Pods that carry a sidecar along, genuine but for something long.
fn carried(rendering: &Rendering, injected: &Value) -> Vec<(&'static str, Value)> {
    let sidecar = |field: &str, more: &dyn Fn(usize) -> Value| {
        let mut pod = injected.clone();
        let sidecar = &mut pod["spec"]["initContainers"][0];
        assert_eq!(sidecar["name"], CONTAINER_NAME);
        sidecar[field].as_array_mut().unwrap().extend(list(MOST, more));
        pod
    };
    let mount = |number: usize| json!({"name": "datadog", "mountPath": format!("/m{number}")});
    let token = |number: usize| {
        json!({"name": format!("kube-api-access-{number}"), "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"})
    };
    let mut tokens = sidecar("volumeMounts", &|_| Value::Null);
    let mounts = tokens["spec"]["initContainers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount.is_null());
    mounts.extend(list(MOST / 2, &token));
    let volume = |number: usize| json!({"name": format!("kube-api-access-{number}"), "projected": {"sources": []}});
    tokens["spec"]["volumes"].as_array_mut().unwrap().extend(list(MOST / 2, &volume).into_iter().rev());
    let mut own = injected.clone();
    let mut trust = rendering.trust_mount.clone();
    trust["subPath"] = "x".into();
    own["spec"]["containers"][0]["volumeMounts"] = many(&|_| trust.clone());
    let mut variables = injected.clone();
    let env = variables["spec"]["containers"][0]["env"].as_array_mut().unwrap();
    let again = env.clone();
    env.extend(list(MOST, &|number| again[number % again.len()].clone()));
    let mut volumes = injected.clone();
    volumes["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
        .extend(list(MOST, &|n| json!({"name": host(n), "emptyDir": {}})));
    let mut named = injected.clone();
    named["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
        .extend(list(MOST, &|_| json!({"name": TRUST_VOLUME, "emptyDir": {}})));
    vec![
        ("a sidecar with tolerated mounts", sidecar("volumeMounts", &mount)),
        ("a sidecar with tokens", tokens),
        ("a sidecar with tolerated variables", sidecar("env", &|_| variable("DD_AGENT_HOST", "h"))),
        ("a sidecar with arguments", sidecar("args", &|number| host(number).into())),
        ("a sidecar with a long argument", sidecar("args", &|_| long(MOST / 2).into())),
        ("a sidecar, and trust mounts that are none", own),
        ("a sidecar, and our variables again and again", variables),
        ("a sidecar, and volumes", volumes),
        ("a sidecar, and volumes with a name of ours", named),
    ]
}
