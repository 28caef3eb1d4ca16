//! The CA in files is replaced while the sidecar runs: trusted first, signing later, and no connection notices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;

use http::Request;
use hyper::body::Incoming;
use sandgate_ca::Authority;
use sandgate_testkit::client::{Client, ClientTls, empty_body, eventually, tunnel, websocket};
use sandgate_testkit::origin::Origin;
use sandgate_testkit::sidecar::{program_beside, run_command};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::beside::echo;
use crate::certificates::ca;
use crate::harness::{DEADLINE, PROGRAM, Setup, allow, resolve, start_origin, until, url};
use crate::streaming::text_until;

fn put(dir: &Path, name: &str, text: &str) {
    let aside = dir.join(format!("{name}.new"));
    std::fs::write(&aside, text).expect("a CA file is written");
    std::fs::rename(aside, dir.join(name)).expect("a CA file is put in place");
}

/// A sidecar with its CA in files.
async fn with_files(origin: &Origin, first: &Authority, overlap: &str) -> (Setup, TempDir) {
    let (dir, files) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    put(files.path(), "ca.key", &first.private_key_pem());
    put(files.path(), "ca.crt", &first.chain_pem());
    let roots = dir.path().join("origin-ca.pem");
    origin.ca().write_root(&roots);
    let rules = format!(
        "{}{}",
        allow(origin),
        allow(origin).replace("id: origin", "id: more").replace("host: origin.test", "host: '*.origin.test'")
    );
    std::fs::write(dir.path().join("policy.yaml"), format!("version: 1\ndestinations:\n{rules}")).expect("as prepared");
    let (ca_dir, roots) = (files.path().display().to_string(), roots.display().to_string());
    let arguments =
        ["--ca-dir", &ca_dir, "--ca-poll", "50ms", "--ca-overlap", overlap, "--upstream-ca", &roots, "--resolve"];
    let setup = Setup::start_in(dir, &[&arguments[..], &[&resolve(origin)]].concat()).await;
    setup.sidecar.wait_for_stderr("further roots for origins", DEADLINE).await;
    (setup, files)
}

async fn wait_until_trusted(setup: &Setup, authority: &Authority) {
    eventually(DEADLINE, || setup.trusted().contains(authority.certificate_der())).await;
}

/// Whether a client that trusts only `authority` accepts what it is shown for `host`.
async fn is_signed_by(setup: &Setup, origin: &Origin, host: &str, authority: &Authority) -> bool {
    let stream = tunnel(setup.sidecar.proxy(), &format!("{host}:{}", origin.port())).await.expect("as prepared");
    ClientTls::new(&authority.certificate_pem()).handshake(host, stream).await.is_ok()
}

#[tokio::test]
async fn a_new_ca_is_trusted_first_and_signs_nothing_during_the_overlap() {
    let origin = start_origin().await;
    let (old, new) = (ca("old"), ca("new"));
    let (setup, files) = with_files(&origin, &old, "24h").await;
    let mut open = setup.client(&origin).await;
    put(files.path(), "ca.key", &new.private_key_pem());
    put(files.path(), "ca.crt", &new.chain_pem());
    wait_until_trusted(&setup, &new).await;
    assert!(setup.trusted().contains(old.certificate_der()));
    for host in ["origin.test", "fresh.origin.test"] {
        assert!(is_signed_by(&setup, &origin, host, &old).await, "{host}");
        assert!(!is_signed_by(&setup, &origin, host, &new).await, "{host}");
    }
    assert_eq!(open.get(&url(&origin, "/zen")).await.unwrap().status, 200);
}

/// Connections of every kind, with something under way on each.
struct Open {
    http1: Client,
    http2: Client,
    events: Incoming,
    event: u64,
    websocket: TlsStream<TcpStream>,
}

impl Open {
    async fn start(setup: &Setup, origin: &Origin) -> Self {
        let (http1, mut http2) = (setup.client(origin).await, setup.http2_client(origin).await);
        let request = Request::get(url(origin, "/sse")).body(empty_body()).unwrap();
        let events = http2.open(request).await.unwrap().into_body();
        let mut socket = setup.tls_stream(origin).await;
        let host = format!("origin.test:{}", origin.port());
        assert_eq!(websocket(&mut socket, &host, "/ws").await.unwrap().status, 101);
        Self { http1, http2, events, event: 0, websocket: socket }
    }

    /// Something happens on each, and none had to be opened anew.
    async fn go_on(&mut self, origin: &Origin) {
        for client in [&mut self.http1, &mut self.http2] {
            assert_eq!(client.get(&url(origin, "/zen")).await.unwrap().status, 200);
        }
        let event = text_until(&mut self.events, "\n\n").await;
        assert!(event.starts_with(&format!("id: {}\n", self.event)), "{event}");
        self.event += 1;
        origin.release_event();
        echo(&mut self.websocket, "still here").await.unwrap();
    }
}

/// Has the tool of operators rotate the CA in `dir`, and returns the new one.
async fn rotate(dir: &Path) -> Authority {
    let tool = program_beside(Path::new(PROGRAM), "sandgate-ca");
    let said = run_command(tool, &["rotate", "--dir", &dir.display().to_string()], &[], DEADLINE).await.unwrap();
    assert!(said.status.success(), "{said:?}");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    Authority::from_pem(&read("ca.crt"), &read("ca.key")).unwrap()
}

#[tokio::test]
async fn after_the_overlap_the_new_ca_signs_and_no_connection_drops() {
    let origin = start_origin().await;
    let old = ca("old");
    let (setup, files) = with_files(&origin, &old, "200ms").await;
    let mut open = Open::start(&setup, &origin).await;
    open.go_on(&origin).await;
    let new = rotate(files.path()).await;
    wait_until_trusted(&setup, &new).await;
    open.go_on(&origin).await;
    let mut number = 0;
    let taken_over = async {
        loop {
            number += 1;
            if is_signed_by(&setup, &origin, &format!("h{number}.origin.test"), &new).await {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, taken_over).await.expect("the new CA takes over");
    // Leaves that are not due are served on, and their CA stays trusted.
    let bundle = std::fs::read_to_string(setup.dir.path().join("trust/bundle.crt")).unwrap();
    for ca in [&old, &new] {
        assert!(setup.trusted().contains(ca.certificate_der()) && bundle.contains(ca.certificate_pem().trim()));
    }
    assert!(is_signed_by(&setup, &origin, "origin.test", &old).await);
    open.go_on(&origin).await;
    assert_eq!(setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_pair_of_files_that_do_not_belong_together_changes_nothing() {
    let origin = start_origin().await;
    let (old, new) = (ca("old"), ca("new"));
    let (setup, files) = with_files(&origin, &old, "0").await;
    put(files.path(), "ca.crt", &new.chain_pem());
    setup.sidecar.wait_for_stderr("the CA stays as it was", DEADLINE).await;
    let (status, report) = setup.readyz().await;
    assert_eq!(status, 200);
    assert!(report["problems"].to_string().contains("ca.key"), "{report}");
    assert_eq!(setup.trusted(), [old.certificate_der().clone()]);
    assert!(is_signed_by(&setup, &origin, "fresh.origin.test", &old).await);
    // The other half arrives.
    put(files.path(), "ca.key", &new.private_key_pem());
    wait_until_trusted(&setup, &new).await;
    until("/readyz", async || setup.readyz().await.1["status"] == "ready").await;
}
