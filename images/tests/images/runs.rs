//! An image's program at work: as any user, on a root that it cannot write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sandgate_images_test::{Container, docker, must, run, until};
use sandgate_testkit::pki::TestCa;
use tempfile::TempDir;

use crate::{BOTH, SIDECAR, WEBHOOK};

/// The health check asks every ten seconds.
const WELL_WITHIN: Duration = Duration::from_secs(60);
/// What a container gets that may do nothing.
const CONFINED: [&str; 5] =
    ["--user=65532", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"];

/// The webhook's directory, with access to an API server that is not there. The image has no roots, so a kubeconfig names
/// its CA, as one of a pod does.
fn access(server: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("config.yaml"), "dns: {servers: [10.96.0.10]}\n").expect("it can be written");
    fs::write(dir.path().join("kubeconfig"), KUBECONFIG.replace("127.0.0.1", server)).expect("it can be written");
    TestCa::named("Sandgate Images Test").write_root(&dir.path().join("ca.pem"));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    dir
}

/// A container of an image, as any user and with a root that cannot be written.
fn confined(arguments: &[&str]) -> Container {
    Container::start(&[&CONFINED, arguments].concat())
}

fn becomes_well(container: &Container) {
    until(WELL_WITHIN, "the health check is content", || {
        let state = container.state();
        assert!(state["Running"] == true, "it ended: {state}; {}", container.log());
        (state["Health"]["Status"] == "healthy").then_some(())
    });
}

fn ends_well(container: &Container) {
    must(&mut docker(&["stop", "--time=30", container.id()]));
    assert_eq!(container.state()["ExitCode"], 0, "{}", container.log());
}

#[test]
fn the_sidecar_is_well_as_any_user_on_a_root_that_it_cannot_write() {
    let sidecar = confined(&[&SIDECAR.tag(), "serve", "--ca=generate", "--allowed-domains=example.com"]);
    becomes_well(&sidecar);
    ends_well(&sidecar);
}

#[test]
fn the_webhook_is_well_as_any_user_on_a_root_that_it_cannot_write() {
    // An API server that cannot be reached: such a webhook is well, and not ready.
    let dir = access("127.0.0.1");
    let volume = format!("--volume={}:/etc/sandgate:ro", dir.path().display());
    let named =
        ["--env=POD_NAME=one", "--env=POD_NAMESPACE=sandgate-system", "--env=KUBECONFIG=/etc/sandgate/kubeconfig"];
    let webhook = confined(&[&[&*volume], &named[..], &[&*WEBHOOK.tag()]].concat());
    becomes_well(&webhook);
    ends_well(&webhook);
}

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: 'https://127.0.0.1:1', certificate-authority: ca.pem}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
users: [{name: none, user: {token: none}}]
";

/// A static glibc has its resolver inside, but reads the container's files: names must be found as elsewhere.
#[test]
fn the_webhook_finds_the_api_server_by_its_name() {
    let network = Network::new();
    for (host, expected) in [
        ("in-hosts.test", "Connection refused"),
        ("sandgate-name-server-knows", "Connection refused"),
        ("nobody-knows.test", "lookup"),
    ] {
        let dir = access(host);
        let volume = format!("--volume={}:/etc/sandgate:ro", dir.path().display());
        let mut report = docker(&["run", "--rm", "--read-only", "--user=65532", "--add-host=in-hosts.test:127.0.0.1"]);
        report.args([
            "--network",
            &network.0,
            "--network-alias=sandgate-name-server-knows",
            "--dns=127.0.0.1",
            &volume,
        ]);
        report.args(["--env=KUBECONFIG=/etc/sandgate/kubeconfig", &WEBHOOK.tag(), "report", "--namespace=default"]);
        let said = run(&mut report);
        assert!(said.code == Some(1) && said.err.contains(expected), "{host}: {said:#?}");
    }
}

/// A network without a way out, and with Docker's name server.
struct Network(String);

impl Network {
    fn new() -> Self {
        let name = format!("sandgate-images-test-{}", std::process::id());
        must(&mut docker(&["network", "create", "--internal", &name]));
        Self(name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        run(&mut docker(&["network", "rm", &self.0]));
    }
}

#[test]
fn each_says_its_version() {
    for image in BOTH {
        let said = must(docker(&["run", "--rm"]).args(CONFINED).args([&image.tag(), "--version"]));
        assert_eq!(said, format!("{} {}\n", image.program, env!("CARGO_PKG_VERSION")));
    }
}
