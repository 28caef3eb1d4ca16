//! A workload that decides itself what names mean: files that it shares with the sidecar, and fields of the pod that write
//! them.

use sandgate_kind_test::objects::{pod, with};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::Space;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use serde_json::json;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    a_root_workload_that_rewrites_etc_hosts_and_resolv_conf_changes_nothing_for_the_sidecar,
    host_aliases_change_nothing_for_the_sidecar,
    dns_config_changes_nothing_for_the_sidecar,
    a_service_named_sandgate_changes_nothing,
);

/// The allowed origin answers through the sidecar, and `elsewhere` saw no request for `path`.
#[track_caller]
fn reaches_the_real_origin(space: &Space, path: &str) {
    let origins = Origins::shared();
    let host = origins.allowed();
    let script =
        format!("curl -sS -o /dev/null -w '%{{http_code}}' https://{host}/{path}; curl -sS http://{host}/{path}");
    let printed = space.sh("one", &script).accepted();
    assert!(printed.output.starts_with("404"), "the origin has no such route, and says so: {}", printed.output);
    assert!(origins.requests("origin").contains(path), "{}", origins.requests("origin"));
    assert!(!origins.requests("elsewhere").contains(path));
}

/// A program that reads the pod's files, and uses no proxy, is led to `elsewhere`.
#[track_caller]
fn leads_whoever_reads_the_files_astray(space: &Space, path: &str) {
    let origins = Origins::shared();
    let _asked = space.sh("one", &format!("curl -sS --noproxy '*' http://{}/{path}", origins.allowed())).accepted();
    assert!(origins.requests("elsewhere").contains(path), "{}", origins.requests("elsewhere"));
}

fn a_root_workload_that_rewrites_etc_hosts_and_resolv_conf_changes_nothing_for_the_sidecar(stage: &Stage) {
    let space = stage.namespace("required");
    space.start(&pod("one"));
    let line = format!("{} {}", Origins::shared().address("elsewhere"), Origins::shared().allowed());
    let rewrite = format!("echo '{line}' >>/etc/hosts && echo 'nameserver 127.0.0.1' >/etc/resolv.conf");
    let _rewritten = space.sh("one", &rewrite).accepted();
    leads_whoever_reads_the_files_astray(&space, "astray-by-hosts");
    reaches_the_real_origin(&space, "true-in-spite-of-hosts");
    // The sidecar that starts anew reads neither.
    sandgate_kind_test::node::kill_sidecar(stage, &space.pod("one"));
    crate::restarted(&space, "one", 1);
    reaches_the_real_origin(&space, "true-after-a-restart");
}

fn host_aliases_change_nothing_for_the_sidecar(stage: &Stage) {
    let space = stage.namespace("required");
    let origins = Origins::shared();
    let aliases = json!([{"ip": origins.address("elsewhere"), "hostnames": [origins.allowed()]}]);
    space.start(&with(pod("one"), &json!({"spec": {"hostAliases": aliases}})));
    leads_whoever_reads_the_files_astray(&space, "astray-by-aliases");
    reaches_the_real_origin(&space, "true-in-spite-of-aliases");
}

fn dns_config_changes_nothing_for_the_sidecar(stage: &Stage) {
    // A name server of the attacker's, which has one answer for everything.
    let space = stage.namespace("required");
    let address = Origins::shared().address("elsewhere");
    let home = stage.bare_namespace("", &json!({}));
    let mut server = pod("server");
    let program = NAME_SERVER.replace("ADDRESS", &address);
    server["spec"]["containers"][0]["command"] = json!(["python3", "-c", program]);
    let server = home.start(&server);
    let config = json!({"nameservers": [server["status"]["podIP"]]});
    space.start(&with(pod("one"), &json!({"spec": {"dnsPolicy": "None", "dnsConfig": config}})));
    leads_whoever_reads_the_files_astray(&space, "astray-by-dns");
    reaches_the_real_origin(&space, "true-in-spite-of-dns");
}

/// Answers every question for an A record with one address, and others with none.
const NAME_SERVER: &str = r#"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    is_a = query[end - 4:end - 2] == b"\0\1"
    head = query[:2] + b"\x85\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton("ADDRESS") if is_a else b""
    server.sendto(head + query[12:end] + answer, client)
"#;

fn a_service_named_sandgate_changes_nothing(stage: &Stage) {
    let space = stage.namespace("required");
    for name in ["sandgate", "sandgate-policy", "sandgate-admin-listen", "sandgate-allowed-domains"] {
        space.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"port": 80}], "selector": {"app": "none"}}}));
    }
    space.start(&pod("one"));
    // The variables are there, in the sidecar as in every container.
    space.sh("one", "env").accepted().shows(&["SANDGATE_PORT=tcp://", "SANDGATE_POLICY_PORT="]);
    reaches_the_real_origin(&space, "true-in-spite-of-services");
}
