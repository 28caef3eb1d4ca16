//! What a program in the sandbox gets with nothing set up: the origins of the policy, and refusals with their reasons.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use sandgate_images_test::run;

use crate::sandbox::Sandbox;

#[test]
fn curl_gets_an_allowed_origin_without_a_flag() {
    assert_eq!(Sandbox::shared().says("curl -sS https://origin.test/"), "origin\n");
}

#[test]
fn python_gets_it_too() {
    let program = "import urllib.request as r; print(r.urlopen('https://origin.test/').read().decode(), end='')";
    assert_eq!(Sandbox::shared().says(&format!("python3 -c \"{program}\"")), "origin\n");
}

#[test]
fn what_is_refused_says_why() {
    let sandbox = Sandbox::shared();
    let said = sandbox.exec("workload", &["curl", "-sSv", "https://refused.test/"]);
    assert_eq!(said.code, Some(56), "{said:#?}");
    assert!(said.err.contains("403 Forbidden: refused.test is not in the policy (host_not_allowed)"), "{said:#?}");
    let body = sandbox.says("curl -sS http://refused.test/");
    assert!(body.starts_with(r#"{"error":"host_not_allowed","host":"refused.test:80""#), "{body}");
    for metadata in ["169.254.169.254", "[fd00:ec2::254]"] {
        let said = sandbox.says(&format!("curl -sS -o /dev/null -w '%{{http_code}}' http://{metadata}/latest/"));
        assert_eq!(said, "403", "{metadata}");
    }
}

#[test]
fn one_command_runs_in_it_and_gives_its_exit_code() {
    let sandbox = Sandbox::shared();
    let said = run(sandbox.command("scripts/sandbox").arg("curl -sS https://origin.test/; exit 7"));
    assert_eq!((said.code, said.out.as_str()), (Some(7), "origin\n"), "{said:#?}");
}

#[test]
fn ports_are_there_for_this_machine_alone() {
    let sandbox = Sandbox::shared();
    let mut published = 0;
    for service in ["sidecar", "workload"] {
        let ports = sandbox.inspect(service)["NetworkSettings"]["Ports"].take();
        for binding in
            ports.as_object().expect("ports").values().flat_map(|bindings| bindings.as_array().into_iter().flatten())
        {
            assert_eq!(binding["HostIp"], "127.0.0.1", "{ports}");
            let port: u16 = binding["HostPort"].as_str().expect("a port").parse().expect("a number");
            TcpStream::connect(("127.0.0.1", port)).expect("this machine reaches it");
            let elsewhere = SocketAddr::new(own_address().ip(), port);
            TcpStream::connect_timeout(&elsewhere, Duration::from_secs(2)).expect_err("nobody else reaches it");
            published += 1;
        }
    }
    assert_eq!(published, 1);
}

/// An address of this machine that others reach it by. Nothing is sent: a route is looked up.
fn own_address() -> SocketAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("203.0.113.1:9").expect("there is a route");
    let address = socket.local_addr().expect("an address");
    assert!(!address.ip().is_loopback(), "{address}");
    address
}

#[test]
fn the_sidecar_is_seen_to_be_well() {
    assert_eq!(Sandbox::shared().inspect("sidecar")["State"]["Health"]["Status"], "healthy");
}
