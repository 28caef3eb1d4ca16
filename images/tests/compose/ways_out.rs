//! Without the sidecar there is no way out: IPv4, IPv6, DNS and metadata services are tried, from the workload, and from a
//! container whose network lets its packets out, which shows that they would arrive.

use std::collections::BTreeSet;
use std::time::Duration;

use sandgate_images_test::{must, until};
use serde_json::Value;

use crate::sandbox::{FORBIDDEN, MARKER, Sandbox};

const PROBE: &str = include_str!("probe.py");

fn probe(sandbox: &Sandbox, service: &str) -> Value {
    let mut arguments = vec![MARKER];
    arguments.extend(FORBIDDEN);
    sandbox.python(service, PROBE, &arguments)
}

/// What came past a watcher: the interface and the destination, or the marker.
fn seen(sandbox: &Sandbox, watcher: &str) -> BTreeSet<(String, String)> {
    let log = sandbox.log(watcher);
    let pairs = log.lines().filter_map(|line| line.trim().split_once(' '));
    pairs.map(|(interface, what)| (interface.to_owned(), what.to_owned())).collect()
}

/// The interfaces of this machine that are a network of the sandbox, and those of its containers.
fn of_network(sandbox: &Sandbox, network: &str) -> BTreeSet<String> {
    let bridge = sandbox.bridge(network);
    let ports = must(std::process::Command::new("ls").arg(format!("/sys/class/net/{bridge}/brif")));
    ports.split_whitespace().map(str::to_owned).chain([bridge.clone()]).collect()
}

/// One test, since the two halves have the same watchers: first what must not arrive, then what must.
#[test]
fn nothing_gets_out_of_the_workload_where_all_of_it_would_from_an_open_network() {
    let sandbox = Sandbox::shared();

    let met = probe(&sandbox, "workload");
    for (way, met) in met.as_object().expect("an object") {
        let met = met.as_str().unwrap_or_default();
        // Where an engine gives it a route to a gateway that does not exist, the kernel takes the datagram all the same.
        let nowhere = ["ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH", "nothing came back"].contains(&met);
        assert!(
            nowhere || (way == "dns" && met == "no such name") || (way.starts_with("udp") && met == "sent"),
            "{way} met {met}"
        );
    }
    assert_eq!(met.as_object().map(serde_json::Map::len), Some(2 * FORBIDDEN.len() + 1));
    // The question for the name goes to the sidecar, where nobody answers: it is seen in the sandbox, as a sign that the
    // watcher sees, and nowhere else.
    let inside = of_network(&sandbox, "sandbox");
    until(Duration::from_secs(10), "the watcher sees the question", || {
        (!seen(&sandbox, "watcher").is_empty()).then_some(())
    });
    for (interface, what) in seen(&sandbox, "watcher") {
        assert!(inside.contains(&interface) && what == MARKER, "{what} on {interface}, outside of {inside:?}");
    }
    assert_eq!(seen(&sandbox, "decoy"), BTreeSet::new());

    let met = probe(&sandbox, "exposed");
    let wanted: BTreeSet<&str> = FORBIDDEN.into_iter().chain([MARKER]).collect();
    until(Duration::from_secs(10), "the decoy gets all of it", || {
        let seen = seen(&sandbox, "decoy");
        let arrived: BTreeSet<&str> = seen.iter().map(|(_, what)| what.as_str()).collect();
        (arrived == wanted).then_some(())
    });
    assert_eq!(met["udp 203.0.113.53"], "sent", "{met}");
    // Nor did that leave this machine.
    let open = of_network(&sandbox, "open");
    for (interface, what) in seen(&sandbox, "watcher") {
        assert!(inside.contains(&interface) || open.contains(&interface), "{what} on {interface}");
    }
}

#[test]
fn the_workload_has_no_route_to_anybody_but_the_sidecar_and_cannot_make_one() {
    let sandbox = Sandbox::shared();
    let routes = sandbox.says("ip -4 route; ip -6 route show default");
    // Older engines name a gateway in a network without a way out too. There is none at that address.
    let others = routes.lines().filter(|route| !route.starts_with("172.31.250.0/29 dev eth0 "));
    assert!(others.clone().all(|route| route.trim() == "default via 172.31.250.1 dev eth0"), "{routes}");
    let host = sandbox.exec("watcher", &["ip", "-4", "-o", "address"]);
    assert!(host.code == Some(0) && host.out.contains("127.0.0.1") && !host.out.contains("172.31.250."), "{host:#?}");
    for change in [["replace", "default", "via", "172.31.250.2"], ["add", "203.0.113.0/24", "via", "172.31.250.2"]] {
        let said = sandbox.exec("workload", &[&["ip", "route"], &change[..]].concat());
        assert!(said.code != Some(0) && said.err.contains("not permitted"), "{said:#?}");
    }
}

/// The sidecar is on both networks; it is a proxy, not a router, for it has no right to be one.
#[test]
fn the_sidecar_listens_for_the_workload_alone() {
    let sandbox = Sandbox::shared();
    let outside = sandbox.inspect("sidecar")["NetworkSettings"]["Networks"].take();
    let outside = outside
        .as_object()
        .expect("networks")
        .iter()
        .find(|(name, _)| name.ends_with("_outside"))
        .expect("it is there");
    let address = outside.1["IPAddress"].as_str().expect("an address");
    let connect = format!("import socket; socket.create_connection(('{address}', 8080), 2)");
    let said = sandbox.exec("origin", &["python3", "-c", &connect]);
    assert!(said.code == Some(1) && said.err.contains("Connection refused"), "{said:#?}");
}
