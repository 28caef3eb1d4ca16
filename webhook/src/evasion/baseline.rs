//! Pod Security "baseline" as of Kubernetes 1.36, for namespaces whose owner may not have labelled them with it
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>, `k8s.io/pod-security-admission/policy`).
//!
//! Where a version depends on the cluster, the stricter one holds: `procMount: Unmasked` is refused in user namespaces too.

use serde_json::Value;

use crate::decision::Refusal;
use crate::pod::{self, Container, List, elements};
use crate::reason::Reason;

/// Capabilities that may be added: the runtimes' default set without `NET_RAW`.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Kernel parameters that are the pod's own.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// What the security contexts of pod and container have in common: pointer, and the values that are allowed.
const PROFILES: [(&str, &[&str]); 5] = [
    ("/seccompProfile/type", &["RuntimeDefault", "Localhost"]),
    ("/appArmorProfile/type", &["RuntimeDefault", "Localhost"]),
    ("/seLinuxOptions/type", &SELINUX_TYPES),
    ("/seLinuxOptions/user", &[""]),
    ("/seLinuxOptions/role", &[""]),
];

/// The annotation by which AppArmor was set before it had a field; API servers still turn it into one.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Handlers with a host, which the kubelet would connect to from the node.
const HANDLERS: [&str; 10] = [
    "/livenessProbe/httpGet/host",
    "/livenessProbe/tcpSocket/host",
    "/readinessProbe/httpGet/host",
    "/readinessProbe/tcpSocket/host",
    "/startupProbe/httpGet/host",
    "/startupProbe/tcpSocket/host",
    "/lifecycle/postStart/httpGet/host",
    "/lifecycle/postStart/tcpSocket/host",
    "/lifecycle/preStop/httpGet/host",
    "/lifecycle/preStop/tcpSocket/host",
];

/// What "baseline" refuses in the fields of the pod itself.
pub(super) fn check_pod(pod: &Value) -> Vec<Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut refusals = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec.get(field).is_some_and(|value| !is_unset(value)) {
            refusals.push(refusal(
                "the pod",
                &format!("shares a namespace of the node ({field}: true)"),
                "leave it out",
            ));
        }
    }
    for (index, volume) in elements(spec, "volumes").enumerate() {
        if volume.get("hostPath").is_some_and(|source| !source.is_null()) {
            let place = format!("volumes[{index}] {:?}", pod::text(volume, "/name").unwrap_or_default());
            refusals.push(refusal(&place, "is a directory of the node (hostPath)", "use another kind of volume"));
        }
    }
    refusals.extend(security_context("the pod", spec));
    let sysctls = spec.pointer("/securityContext/sysctls").and_then(Value::as_array).into_iter().flatten();
    for name in sysctls.map(|sysctl| pod::text(sysctl, "/name").unwrap_or_default()) {
        if !SYSCTLS.contains(&name) {
            refusals.push(refusal(
                "the pod",
                &format!("sets the kernel parameter {name:?} (securityContext.sysctls)"),
                "leave it out",
            ));
        }
    }
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in annotations.filter(|(name, _)| name.starts_with(APP_ARMOR)) {
        let allowed = |text: &str| text.is_empty() || text == "runtime/default" || text.starts_with("localhost/");
        if !value.as_str().is_some_and(allowed) {
            refusals.push(refusal(
                "the pod",
                &format!("has the annotation {name} with the value {value}"),
                "use runtime/default",
            ));
        }
    }
    refusals
}

/// What "baseline" refuses in a container.
pub(super) fn check_container(container: &Container<'_>) -> Vec<Refusal> {
    let place = container.place();
    let json = container.json;
    let mut refusals = security_context(&place, json);
    if json.pointer("/securityContext/privileged").is_some_and(|value| !is_unset(value)) {
        refusals.push(refusal(&place, "is privileged (securityContext.privileged)", "leave that out"));
    }
    if json.pointer("/securityContext/procMount").is_some_and(|value| !is_unset(value) && value != "Default") {
        refusals.push(refusal(&place, "unmasks /proc (securityContext.procMount)", "use Default"));
    }
    for port in elements(json, "ports").filter_map(|port| port.get("hostPort")).filter(|port| !is_unset(port)) {
        refusals.push(refusal(&place, &format!("takes port {port} of the node (ports.hostPort)"), "use a Service"));
    }
    for pointer in HANDLERS.into_iter().filter(|pointer| json.pointer(pointer).is_some_and(|host| !is_unset(host))) {
        let field = pointer[1..].replace('/', ".");
        refusals.push(refusal(&place, &format!("sends the kubelet to another host ({field})"), "leave the host out"));
    }
    refusals.extend(capabilities(container));
    refusals
}

/// Added capabilities. Plain `kubectl debug` adds `SYS_PTRACE`, so that its user is told how to go without.
fn capabilities(container: &Container<'_>) -> Option<Refusal> {
    let added = container.json.pointer("/securityContext/capabilities/add").filter(|added| !is_unset(added))?;
    let names = added.as_array().into_iter().flatten().map(|name| name.as_str().unwrap_or_default());
    let refused: Vec<&str> = names.filter(|name| !CAPABILITIES.contains(name)).collect();
    if refused.is_empty() && added.is_array() {
        return None;
    }
    let what = format!("adds capabilities ({})", refused.join(", "));
    let instead = match container.list {
        List::Ephemeral => "use kubectl debug with --profile=restricted",
        _ if refused.contains(&"SYS_PTRACE") => {
            "leave them out of securityContext.capabilities.add (kubectl debug --copy-to does with --profile=restricted)"
        }
        _ => "leave them out of securityContext.capabilities.add",
    };
    Some(refusal(&container.place(), &what, instead))
}

/// What the security context of a pod or a container may not have.
fn security_context(place: &str, object: &Value) -> Vec<Refusal> {
    let Some(context) = object.get("securityContext") else { return Vec::new() };
    let mut refusals = Vec::new();
    for (pointer, allowed) in PROFILES {
        let value = context.pointer(pointer).filter(|value| !value.is_null());
        if let Some(value) = value.filter(|value| !value.as_str().is_some_and(|text| allowed.contains(&text))) {
            let field = pointer[1..].replace('/', ".");
            let instead = format!(
                "leave it out{}",
                allowed
                    .first()
                    .filter(|first| !first.is_empty())
                    .map_or(String::new(), |first| format!(" or use {first}"))
            );
            refusals.push(refusal(place, &format!("sets securityContext.{field} to {value}"), &instead));
        }
    }
    if context.pointer("/windowsOptions/hostProcess").is_some_and(|value| !is_unset(value)) {
        refusals.push(refusal(
            place,
            "is a process of the node (securityContext.windowsOptions.hostProcess)",
            "leave that out",
        ));
    }
    refusals
}

/// Whether a value says nothing: null, false, 0, "" or an empty list.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}

fn refusal(place: &str, what: &str, instead: &str) -> Refusal {
    let message =
        format!("{place} {what}, against Pod Security \"baseline\", which comes with the required sidecar; {instead}");
    Refusal::new(Reason::Baseline, message)
}
