//! Certificates of origins: each failure by its name, and no byte of a request sent. What a rule adds holds for that rule.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use http::Request;
use sandgate_testkit::client::{bytes_body, websocket};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::pki::{Issued, TestCa, self_signed, untrusted};
use sandgate_testkit::raw_origin::{RawConnection, RawOrigin, scripts};

use crate::beside::{DEADLINE, client, code, setup, stream, uri};

const NAMES: &[&str] = &["origin.test"];

async fn refused(certificate: Issued, ca: &TestCa, expected: &str) {
    let origin = Origin::builder().ca(ca).certificate(certificate).start().await;
    let setup = setup(ca, origin.port(), "", &[]).await;
    for alpn in ["h2", "http/1.1"] {
        let request = Request::post(uri(origin.port(), "/upload")).header("authorization", "Bearer secret");
        let request = request.body(bytes_body("secret")).unwrap();
        let fetched = client(&setup, origin.port(), alpn).await.fetch(request).await.unwrap();
        assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, expected), "{}", fetched.text());
        let status = fetched.headers["proxy-status"].to_str().unwrap();
        assert!(status.contains("error=tls_certificate_error") && status.contains(expected), "{status}");
    }
    let mut stream = stream(&setup, origin.port()).await;
    let reply = websocket(&mut stream, &format!("origin.test:{}", origin.port()), "/ws").await.unwrap();
    assert!(reply.status == 502 && reply.reason.contains(expected), "{reply:?}");
    assert_eq!(origin.request_count(), 0, "{expected}");
    let connections = origin.wait_for_connections(DEADLINE, |all| all.iter().all(|it| it.closed)).await;
    assert_eq!(connections.len(), 3, "{expected}");
    assert!(connections.iter().all(|it| it.bytes_received == 0), "{expected}: {connections:?}");
    setup.sidecar.wait_for_audit(|line| line["kind"] == "request" && line["code"] == expected, DEADLINE).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_name() {
    let ca = TestCa::new();
    refused(ca.issue_expired(NAMES), &ca, "certificate_expired").await;
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused_by_name() {
    let ca = TestCa::new();
    refused(ca.issue_not_yet_valid(NAMES), &ca, "certificate_not_yet_valid").await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_by_name() {
    let ca = TestCa::new();
    refused(ca.issue_wrong_host(), &ca, "certificate_name_mismatch").await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_refused_by_name() {
    refused(untrusted(NAMES), &TestCa::new(), "certificate_unknown_issuer").await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_by_name() {
    refused(self_signed(NAMES), &TestCa::new(), "certificate_unknown_issuer").await;
}

#[tokio::test]
async fn a_certificate_outside_its_cas_name_constraints_is_refused_by_name() {
    let ca = TestCa::new();
    refused(ca.issue_outside_constraints(NAMES), &ca, "certificate_name_constraints").await;
}

#[tokio::test]
async fn a_chain_through_an_intermediate_is_verified() {
    let ca = TestCa::new();
    let origin = Origin::builder().ca(&ca).certificate(ca.issue_through_intermediate(NAMES)).start().await;
    let setup = setup(&ca, origin.port(), "", &[]).await;
    assert_eq!(client(&setup, origin.port(), "h2").await.get(&uri(origin.port(), "/zen")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_rules_extra_roots_hold_for_that_rule_alone() {
    let private = TestCa::named("private");
    let origin = Origin::builder().ca(&private).start().await;
    let port = origin.port();
    let other = format!("other.origin.test:{port}:127.0.0.1");
    let setup = setup(&TestCa::new(), port, "", &["--resolve", &other]).await;
    let root = setup.dir.path().join("private.pem");
    private.write_root(&root);
    let more = format!("    upstream: {{ ca: [{}] }}\n", root.display());
    let policy = crate::beside::destination("origin.test", port, &more)
        + &crate::beside::destination("other.origin.test", port, "").replace("id: origin", "id: other");
    setup.set_policy(&policy);
    setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    assert_eq!(client(&setup, port, "h2").await.get(&uri(port, "/zen")).await.unwrap().status, 200);
    let tls = setup.client_tls().alpn(&["h2"]);
    let proxy = setup.sidecar.proxy();
    let mut other = sandgate_testkit::client::https_through(proxy, "other.origin.test", port, &tls).await.unwrap();
    let fetched = other.get(&format!("https://other.origin.test:{port}/zen")).await.unwrap();
    assert_eq!(code(&fetched), "certificate_unknown_issuer");
    assert_eq!(origin.request_count(), 1);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_rule_has_one_and_nowhere_else() {
    for protocols in [Protocols::Http2, Protocols::Http1] {
        let (ca, client_ca) = (TestCa::new(), TestCa::named("client CA"));
        let origin = Origin::builder().ca(&ca).protocols(protocols).require_client_certificate(client_ca.root());
        let origin = origin.start().await;
        let port = origin.port();
        let setup = setup(&ca, port, "", &[]).await;
        let fetched = client(&setup, port, "h2").await.get(&uri(port, "/zen")).await.unwrap();
        assert_eq!(fetched.status, 502, "{}", fetched.text());
        assert_eq!(origin.request_count(), 0);
        let issued = client_ca.issue(&["client.test"]);
        let path = |name: &str| setup.dir.path().join(name);
        std::fs::write(path("client.pem"), issued.chain_pem()).unwrap();
        std::fs::write(path("client.key"), issued.key_pem()).unwrap();
        let (certificate, key) = (path("client.pem"), path("client.key"));
        let identity = format!("{{ certificate: {}, key: {} }}", certificate.display(), key.display());
        let more = format!("    upstream: {{ client_cert: {identity} }}\n");
        setup.set_policy(&crate::beside::destination("origin.test", port, &more));
        setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
        assert_eq!(client(&setup, port, "h2").await.get(&uri(port, "/zen")).await.unwrap().status, 200);
        let shown = origin.requests()[0].tls.clone().unwrap().client_certificates;
        assert_eq!(shown[0], issued.chain[0].to_vec());
    }
}

#[tokio::test]
async fn what_is_not_tls_or_never_ends_its_handshake_is_refused_by_name() {
    async fn plain_http(mut connection: RawConnection) {
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.until_closed().await;
    }
    let plain = RawOrigin::plain(plain_http).await;
    let setup_plain = setup(&TestCa::new(), plain.port(), "", &[]).await;
    let fetched = client(&setup_plain, plain.port(), "h2").await.get(&uri(plain.port(), "/")).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, "tls_handshake_failed"));
    let silent = RawOrigin::plain(scripts::silence).await;
    let arguments = ["--handshake-timeout", "2s"];
    let setup = setup(&TestCa::new(), silent.port(), "", &arguments).await;
    let fetched = client(&setup, silent.port(), "h2").await.get(&uri(silent.port(), "/")).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (504, "tls_timeout"));
}
