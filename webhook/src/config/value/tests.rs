use super::*;

/// Every text of the first list is read, none of the second.
fn judges<T>(codec: Codec<T>, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!((codec.parse)(text).is_ok(), "{text:?}: {}", (codec.parse)(text).err().unwrap());
    }
    for text in bad {
        assert!((codec.parse)(text).is_err(), "{text:?} was read");
    }
}

#[test]
fn images_are_what_a_registry_takes() {
    let digest = format!("@sha256:{}", "0a".repeat(32));
    judges(
        IMAGE,
        &[
            "sidecar",
            "team/sidecar",
            "team/side__car.x--y:1.2.3",
            "ghcr.io/sandgate/sidecar:0.1.0",
            "localhost:5000/sidecar",
            "localhost/sidecar:V1",
            "Registry.Example.com/sidecar",
            "[fd00::1]:5000/sidecar:x",
            "10.0.0.1:5000/a/b/c:1",
            &format!("ghcr.io/sandgate/sidecar{digest}"),
            &format!("ghcr.io/sandgate/sidecar:1{digest}"),
        ],
        &[
            "",
            ":1",
            "/sidecar",
            "sidecar:",
            "sidecar/",
            "a//b",
            "Sidecar",
            "team/Sidecar:1",
            "side car",
            "sidecar:-1",
            "sidecar:a/b:c d",
            "ghcr.io:x/sidecar",
            "ghcr.io:0/sidecar",
            "[fd00::g]/sidecar",
            "[fd00::1/sidecar",
            "-a/b",
            "a/b-",
            "a/b..c",
            "a/b___c",
            "https://ghcr.io/sandgate/sidecar",
            "sidecar@sha256:1234",
            "sidecar@latest",
            "sidecar\n",
            &format!("sidecar@sha512:{}", "0".repeat(64)),
            &format!("ghcr.io/{}", "a".repeat(256)),
        ],
    );
}

#[test]
fn names_are_labels_or_subdomains() {
    let (longest, long) = ("a".repeat(63), "a".repeat(64));
    judges(INIT_CONTAINER, &["a", "istio-init", "0a", &longest], &["", "-a", "a-", "A", "a.b", "a_b", "ä", &long]);
    judges(SUBDOMAIN, &["a", "a.b-c.0"], &["", ".a", "a.", "a..b", "a.-b", "A.b", "a b", "a/b", &"a".repeat(254)]);
    judges(SERVICE, &["sandgate-webhook"], &["0a", "a.b", ""]);
    assert!((INIT_CONTAINER.parse)("auth-proxy").unwrap_err().contains("the sidecar itself"));
}

#[test]
fn numbers_have_both_ends() {
    judges(UID, &["1", "10101", "2147483647"], &["0", "-1", "2147483648", "1.0", "0x10", "1_0", "", "+5"]);
    judges(PORT, &["1024", "65535"], &["0", "80", "1023", "65536", "8080x"]);
    judges(CONNECTIONS, &["16", "1000000"], &["0", "15", "1000001"]);
    judges(BODY_SIZE, &["1MiB", "64MiB", "1024KiB"], &["1023KiB", "65MiB", "8", "8MB", "0B"]);
}

#[test]
fn times_have_a_unit_and_both_ends() {
    judges(SHUTDOWN, &["0", "0s", "1ms", "25s", "1h"], &["", "25", "2h", "-1s"]);
    judges(PATIENCE, &["100ms", "5s", "30s"], &["99ms", "31s", "0s"]);
    judges(LIFETIME, &["1m", "8760h", "87600h"], &["59s", "87601h", "365d"]);
    judges(TRUST_DELAY, &["1s", "60s", "24h"], &["0s", "999ms", "25h"]);
}

#[test]
fn quantities_without_a_sensible_unit_are_told() {
    judges(CPU, &["1m", "10m", "0.5", "4"], &["0", "ten", "-1", "1001"]);
    judges(MEMORY, &["1Mi", "32Mi", "1e9", "1Ti"], &["128", "128m", "0", "32MB", "2Ti", "1048576500m"]);
}

#[test]
fn what_the_sidecar_reads_is_never_tolerated() {
    judges(
        TOLERATED_VARIABLE,
        &["DD_AGENT_HOST", "OTEL_SERVICE_NAME", "with.dot-dash", "_x"],
        &[
            "",
            "1A",
            "A B",
            "A=B",
            "SANDGATE_LISTEN",
            "sandgate_policy",
            "POD_NAME",
            "POD_UID",
            "HTTPS_PROXY",
            "no_proxy",
            "All_Proxy",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "JAVA_TOOL_OPTIONS",
            "TMPDIR",
            "MIMALLOC_VERBOSE",
            "RUST_LOG",
            "ProxyConfiguration__ProxyPort",
            "GLIBC_TUNABLES",
        ],
    );
    judges(TOLERATED_VOLUME, &["datadog"], &["", "sandgate-ca", "sandgate-trust", "sandgate-policy", "A"]);
}

#[test]
fn entries_of_no_proxy_mean_the_same_to_every_client() {
    judges(
        DIRECT_HOST,
        &[
            "db",
            "db.svc",
            ".svc.cluster.local",
            "Intern.Example",
            "10.0.0.1",
            "fd00::1",
            "10.0.0.0/8",
            "fd00::/8",
            "10.0.0.1/32",
            "128.0.0.0/1",
            "fd00::1/128",
            "192.168.4.0/22",
        ],
        &[
            "",
            " ",
            "a b",
            "a,b",
            "*",
            "*.svc",
            ".",
            "..a",
            "a:443",
            "$(HOST)",
            "10.0.0.1/8",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/x",
            "10.0.0",
            "127.1",
            "fd00::1/8",
            "/8",
            "http://a",
            "[::1]",
            "192.168.5.0/22",
        ],
    );
}

#[test]
fn a_name_server_is_one_machine_outside_the_pod() {
    let server = |text| (NAME_SERVER.parse)(text).map(|server| server.to_string()).ok();
    assert_eq!(server("10.0.0.10").as_deref(), Some("10.0.0.10:53"));
    assert_eq!(server("fd00::10").as_deref(), Some("[fd00::10]:53"));
    assert_eq!(server("[fd00::10]").as_deref(), Some("[fd00::10]:53"));
    assert_eq!(server("169.254.20.10:5353").as_deref(), Some("169.254.20.10:5353"));
    judges(
        NAME_SERVER,
        &[],
        &[
            "dns.test",
            "10.0.0.10:0",
            "10.0.0.10:x",
            "10.0.0",
            "[10.0.0.10]",
            "127.0.0.53",
            "[::1]:53",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ],
    );
}

#[test]
fn hashes_addresses_and_paths_are_whole() {
    judges(RENDERING, &["0123456789ab"], &["", "0123456789AB", "0123456789a", "0123456789abc", "0123456789ag"]);
    judges(LISTENER, &["[::]:8443", "127.0.0.1:0"], &["8443", ":8443", "localhost:8443", "[::]", "1.2.3.4:65536"]);
    judges(CERTIFICATE_DIR, &["/etc/tls"], &["", "tls", "./tls"]);
    judges(PULL_POLICY, &["Always"], &["always", ""]);
    judges(LOG_LEVEL, &["debug"], &["Debug", "loud"]);
}

#[test]
fn what_is_shown_is_read_again() {
    for text in ["500ms", "5s", "90s", "15m", "24h"] {
        let duration = quantity::duration(text).unwrap();
        assert_eq!(quantity::duration(&duration_text(&duration)), Ok(duration));
    }
    for bytes in [1 << 20, (1 << 20) + 1024, (1 << 20) + 1] {
        assert_eq!(quantity::size(&size_text(bytes)), Ok(bytes as u64));
    }
}
