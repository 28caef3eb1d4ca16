//! The health port as a probe and a scraper see it, with traffic behind it.

use sandgate_testkit::client::{connect_through, http_get, raw};

use crate::harness::{DEADLINE, Setup, allow, resolve, start_origin, url};

#[tokio::test]
async fn the_health_port_answers_get_and_changes_nothing() {
    let origin = start_origin().await;
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let admin = setup.sidecar.admin();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http_get(admin, path).await.unwrap().status, 200, "{path}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let reply = raw(admin, request.as_bytes(), DEADLINE).await.unwrap();
            assert!(reply.text().starts_with("HTTP/1.1 405 "), "{method} {path}: {reply:?}");
        }
    }
    let reply = raw(admin, b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test\r\n\r\n", DEADLINE).await.unwrap();
    assert!(!reply.text().starts_with("HTTP/1.1 200"), "{reply:?}");
    let proxy = setup.sidecar.proxy();
    let reply = raw(proxy, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", DEADLINE).await.unwrap();
    assert!(reply.text().starts_with("HTTP/1.1 400 "), "the proxy's port is no health port: {reply:?}");
}

#[tokio::test]
async fn metrics_have_every_family_and_no_label_that_a_client_can_make_grow() {
    let origin = start_origin().await;
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let mut client = setup.client(&origin).await;
    assert_eq!(client.get(&url(&origin, "/echo/marker-path?marker=query")).await.unwrap().status, 200);
    // What is asked for the first time has its series; from then on nothing may grow.
    let refuse = async |name: String| connect_through(setup.sidecar.proxy(), &name).await.unwrap().0.status;
    assert_eq!(refuse("marker-0.test:443".into()).await, 403);
    let series = async || http_get(setup.sidecar.admin(), "/metrics").await.unwrap().text();
    let before = series().await.lines().count();
    for number in 1..50 {
        assert_eq!(refuse(format!("marker-{number}.test:{number}443")).await, 403);
        let method = format!(
            "M{number} http://marker-{number}.test/ HTTP/1.1\r\nHost: marker-{number}.test\r\nConnection: close\r\n\r\n"
        );
        raw(setup.sidecar.proxy(), method.as_bytes(), DEADLINE).await.unwrap();
    }
    let text = series().await;
    assert!(!text.contains("marker") && !text.contains("origin.test"), "{text}");
    assert!(text.lines().count() <= before + 1, "only plain HTTP's refusals are new:\n{text}");
    for family in [
        "sandgate_decisions_total",
        "sandgate_requests_total",
        "sandgate_request_duration_seconds_bucket",
        "sandgate_upstream_connect_seconds_bucket",
        "sandgate_open_connections",
        "sandgate_open_tunnels",
        "sandgate_leaf_cache_entries",
        "sandgate_upstream_connections",
        "sandgate_upstream_idle_connections",
        "sandgate_policy_generation",
        "sandgate_policy_info",
        "sandgate_ca_generation",
        "sandgate_ca_not_after_timestamp_seconds",
        "process_resident_memory_bytes",
    ] {
        assert!(text.lines().any(|line| line.starts_with(family)), "{family}");
    }
    assert!(setup.metric("sandgate_decisions_total{code=\"\",verdict=\"allowed\"}").await >= Some(2.0));
    assert!(setup.metric("sandgate_decisions_total{code=\"host_not_allowed\",verdict=\"denied\"}").await >= Some(6.0));
    assert_eq!(setup.metric("sandgate_upstream_connect_seconds_count").await, Some(1.0));
}
