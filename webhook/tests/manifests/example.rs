//! The example of a namespace for sandboxes: what comes in there, and which addresses its pods may reach.

use std::fs;
use std::net::IpAddr;

use ipnet::IpNet;
use sandgate_policy::address;
use sandgate_testkit::api_server::ApiServer;
use sandgate_webhook::config::Config;
use sandgate_webhook::rendering::Rendering;
use serde_json::{Value, json};

use crate::applied::ROOT;
use crate::builds::{Build, all, directory};

fn example() -> &'static Build {
    all().iter().find(|build| build.name == "examples/required-namespace").unwrap()
}

fn blocks() -> Vec<(IpNet, Vec<IpNet>)> {
    let policy = &example().object("NetworkPolicy", "sandbox-egress")["spec"];
    assert_eq!(policy["podSelector"], json!({}));
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    let rules = policy["egress"].as_array().unwrap();
    let peers = rules.iter().flat_map(|rule| rule["to"].as_array().unwrap());
    let range = |text: &Value| text.as_str().unwrap().parse().unwrap();
    let blocks = peers.filter_map(|peer| peer.get("ipBlock"));
    blocks
        .map(|block| (range(&block["cidr"]), block["except"].as_array().unwrap().iter().map(range).collect()))
        .collect()
}

fn admitted(address: IpAddr) -> bool {
    blocks()
        .iter()
        .any(|(block, except)| block.contains(&address) && !except.iter().any(|range| range.contains(&address)))
}

#[test]
fn private_link_local_metadata_unique_local_and_nat64_addresses_are_out() {
    let out = [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::10.0.0.1",
        "fe80::1",
        "fec0::1",
        "fd00::1",
        "fd00:ec2::254",
        "fc00::1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "2001::1",
        "ff02::1",
    ];
    for text in out {
        assert!(!admitted(text.parse().unwrap()), "{text}");
    }
    for text in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "2a00:1450:4001::1"] {
        assert!(admitted(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn what_the_sidecar_never_dials_unasked_is_out_too() {
    // One address in each /12 of IPv4, and in each /16 of IPv6, and at the edges of what is excepted.
    let v4 = (0..=0xfff_u32).map(|top| IpAddr::from((top << 20 | 1).to_be_bytes()));
    let v6 = (0..=0xffff_u128).map(|top| IpAddr::from((top << 112 | 1).to_be_bytes()));
    let ranges: Vec<IpNet> = blocks().into_iter().flat_map(|(_, except)| except).collect();
    let edges = ranges.iter().flat_map(|range| [range.network(), range.broadcast()]);
    for address in v4.chain(v6).chain(edges) {
        let dialled = address::judge(address, &[]).is_ok();
        assert!(dialled || !admitted(address), "{address} is refused by the sidecar and admitted by the example");
    }
}

#[test]
fn the_example_says_what_its_network_policy_cannot_do() {
    let text = fs::read_to_string(directory().join("examples/required-namespace/network-policy.yaml")).unwrap();
    let words = text.replace('#', "").split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "It can't tell the workload from the sidecar",
        "Sandgate's policy is advisory",
        "A Kubernetes API endpoint with a public address",
        "DNS as a channel",
    ] {
        assert!(words.contains(said), "it does not say: {said}");
    }
}

/// As the Manager builds them, with what the webhook adds.
fn sandboxes(count: usize) -> String {
    let config = Config::default();
    let rendering = Rendering::new(&config, &["10.0.0.10:53".parse().unwrap()]);
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "runAsUser": 10000, "seccompProfile": {"type": "RuntimeDefault"}});
    let pod = |number: usize| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("sandbox-{number}"), "namespace": "sandbox-containers",
                "labels": {"app": "kata-manager", "runtime": "kata"}},
            "spec": {"restartPolicy": "Never",
                "initContainers": [rendering.sidecar(&config.sidecar.resources)],
                "containers": [{"name": "workload", "image": "any", "securityContext": security}],
                "volumes": rendering.volumes("sandgate-policy")}})
    };
    json!({"apiVersion": "v1", "kind": "List", "items": (0..count).map(pod).collect::<Vec<_>>()}).to_string()
}

#[test]
fn twenty_sandboxes_are_admitted_and_one_more_meets_the_quota() {
    let server = ApiServer::start();
    let root = server.user("root", &ROOT);
    root.run(&["apply", "-k", directory().join("examples/required-namespace").to_str().unwrap()]).unwrap();
    let account = ["-n", "sandbox-containers", "create", "serviceaccount", "default"];
    root.run(&account).unwrap();
    // A controller does this elsewhere, from the same figures.
    let hard = &example().object("ResourceQuota", "sandboxes")["spec"]["hard"];
    let used: serde_json::Map<String, Value> =
        hard.as_object().unwrap().keys().map(|key| (key.clone(), "0".into())).collect();
    let status = json!({"status": {"hard": hard, "used": used}}).to_string();
    let quota = [
        "-n",
        "sandbox-containers",
        "patch",
        "quota",
        "sandboxes",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    root.run(&quota).unwrap();

    let created = root.run_with(&["create", "-f", "-"], &sandboxes(20));
    assert_eq!(created.as_ref().map(|text| text.lines().count()), Ok(20), "{created:?}");
    let one_more = sandboxes(21);
    let error = root.run_with(&["create", "-f", "-"], &one_more).unwrap_err();
    assert!(error.contains("exceeded quota: sandboxes"), "{error}");
}
