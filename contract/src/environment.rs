//! The environment of a program that goes through the proxy: one table of which variable says what to which client.
//!
//! Who sets variables (the webhook in a pod, `run` for a command) takes them from here and has no list of its own.
//! Not in the table, on purpose: `ALL_PROXY`, which would send protocols here that the proxy refuses (see [`REMOVED`]),
//! and `SSL_CERT_DIR`, whose default directory does no harm beside `SSL_CERT_FILE`.

use std::net::SocketAddr;

use crate::{
    APT_CONFIG_FILE, PHP_SCAN_DIR, TRUST_BUNDLE_FILE, TRUST_CA_FILE, TRUST_STORE_FILE, TRUST_STORE_PASSWORD,
    WGETRC_FILE,
};

/// What every program reaches without the proxy: itself and its neighbours in the pod.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// One environment variable of a proxied program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name, in the case that its clients read.
    pub name: &'static str,
    /// What its value is made of.
    pub kind: Kind,
    /// The clients that read it, for people.
    pub clients: &'static str,
}

/// What the value of a variable is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The proxy as a URL.
    ProxyUrl,
    /// The hosts that are reached directly, separated by commas.
    NoProxy,
    /// The path of a PEM file with roots.
    Roots(Store),
    /// The path of a settings file in the trust directory, by its name there.
    Settings(&'static str),
    /// The same text everywhere.
    Flag(&'static str),
    /// A list of directories, separated by colons, in which an empty one stands for those compiled in.
    ScanDirs(&'static str),
    /// Options of the JVM, separated by spaces; of two that set the same property the last one holds.
    JavaOptions,
}

/// What a client does with a file of roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// It trusts the file alone, so the file must hold the public roots too.
    Replaces,
    /// It trusts the file beside its own roots.
    Adds,
}

impl Store {
    /// The file in the trust directory that fits.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Replaces => TRUST_BUNDLE_FILE,
            Self::Adds => TRUST_CA_FILE,
        }
    }
}

const REPLACES: Kind = Kind::Roots(Store::Replaces);
const ADDS: Kind = Kind::Roots(Store::Adds);

const fn variable(name: &'static str, kind: Kind, clients: &'static str) -> Variable {
    Variable { name, kind, clients }
}

/// Every variable, in the order in which it is set. Rows marked "documented" follow the client's documentation; the
/// others were measured through the proxy.
pub const VARIABLES: &[Variable] = &[
    variable("http_proxy", Kind::ProxyUrl, "most clients for http; Ruby Net::HTTP for https too; curl reads no other"),
    variable("HTTP_PROXY", Kind::ProxyUrl, "Go, Python, Node and others for http; curl ignores it"),
    variable("https_proxy", Kind::ProxyUrl, "wget, apt and grpcio read only the lower case; gem"),
    variable("HTTPS_PROXY", Kind::ProxyUrl, "most clients for https"),
    variable("no_proxy", Kind::NoProxy, "as http_proxy"),
    variable("NO_PROXY", Kind::NoProxy, "as HTTPS_PROXY"),
    variable("NODE_USE_ENV_PROXY", Kind::Flag("1"), "Node 22.21 and later, 24"),
    variable("SSL_CERT_FILE", REPLACES, "OpenSSL: curl, Python ssl and httpx, Go, uv, Ruby, cargo, composer"),
    variable("CURL_CA_BUNDLE", REPLACES, "curl"),
    variable("REQUESTS_CA_BUNDLE", REPLACES, "Python requests, google-auth"),
    variable("GIT_SSL_CAINFO", REPLACES, "git"),
    variable("PIP_CERT", REPLACES, "pip"),
    variable("AWS_CA_BUNDLE", REPLACES, "boto3, aws"),
    variable("CARGO_HTTP_CAINFO", REPLACES, "cargo"),
    variable("NODE_EXTRA_CA_CERTS", ADDS, "Node, pnpm, bun"),
    variable("NPM_CONFIG_CAFILE", REPLACES, "npm"),
    variable("YARN_HTTP_PROXY", Kind::ProxyUrl, "yarn 2 and later, which reads none of the above"),
    variable("YARN_HTTPS_PROXY", Kind::ProxyUrl, "yarn 2 and later"),
    variable("YARN_HTTPS_CA_FILE_PATH", REPLACES, "yarn 2 and later"),
    variable("DENO_CERT", ADDS, "deno"),
    variable("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", REPLACES, "grpcio and others on gRPC core (documented)"),
    variable("HTTPLIB2_CA_CERTS", REPLACES, "Python httplib2 (documented)"),
    variable("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", REPLACES, "gcloud (documented)"),
    variable("NIX_SSL_CERT_FILE", REPLACES, "nix, and programs from nixpkgs (documented)"),
    variable("PERL_LWP_SSL_CA_FILE", REPLACES, "Perl LWP (documented)"),
    variable("WGETRC", Kind::Settings(WGETRC_FILE), "wget, in place of ~/.wgetrc"),
    variable("APT_CONFIG", Kind::Settings(APT_CONFIG_FILE), "apt"),
    variable("PHP_INI_SCAN_DIR", Kind::ScanDirs(PHP_SCAN_DIR), "PHP's curl and openssl"),
    variable("JAVA_TOOL_OPTIONS", Kind::JavaOptions, "every JVM"),
];

/// Variables that a program must not inherit from somebody's own environment: they would lead it to another proxy for
/// all that the table says nothing of, with that proxy's password in them.
pub const REMOVED: [&str; 2] = ["all_proxy", "ALL_PROXY"];

/// The value of every row of [`VARIABLES`], in its order.
///
/// `proxy` is where the program reaches the proxy; `trust_dir` is where it sees the trust files, without spaces (the
/// JVM splits its options there); `no_proxy_extra` are further hosts to reach directly: names, `.suffix`, addresses or
/// networks in CIDR form. Java has no form for networks, so they are left out there.
#[must_use]
pub fn environment(proxy: SocketAddr, trust_dir: &str, no_proxy_extra: &[String]) -> Vec<(&'static Variable, String)> {
    let direct = direct_hosts(no_proxy_extra);
    let trust_dir = trust_dir.trim_end_matches('/');
    let value = |kind| match kind {
        Kind::ProxyUrl => format!("http://{proxy}"),
        Kind::NoProxy => direct.join(","),
        Kind::Roots(store) => format!("{trust_dir}/{}", store.file()),
        Kind::Settings(file) => format!("{trust_dir}/{file}"),
        Kind::Flag(text) => text.to_owned(),
        Kind::ScanDirs(dir) => format!(":{trust_dir}/{dir}"),
        Kind::JavaOptions => java_options(proxy, trust_dir, &direct),
    };
    VARIABLES.iter().map(|variable| (variable, value(variable.kind))).collect()
}

/// The value to set where the program already has `existing` for `variable`: ours behind what is there for lists of
/// options and of directories, ours alone for everything else. Merging twice is the same as once.
///
/// A foreign `NO_PROXY` is not kept: what it names would be tried without the proxy and fail.
#[must_use]
pub fn merge(existing: Option<&str>, variable: &Variable, value: &str) -> String {
    let Some(existing) = existing else { return value.to_owned() };
    let separator = match variable.kind {
        Kind::JavaOptions if !existing.trim().is_empty() => " ",
        // The value starts with the colon that keeps the directories before it.
        Kind::ScanDirs(_) => "",
        _ => return value.to_owned(),
    };
    if existing == value || existing.ends_with(&format!("{separator}{value}")) {
        return existing.to_owned();
    }
    format!("{existing}{separator}{value}")
}

fn direct_hosts(extra: &[String]) -> Vec<&str> {
    let mut hosts = LOCAL.to_vec();
    for host in extra.iter().map(|host| host.trim()) {
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn java_options(proxy: SocketAddr, trust_dir: &str, direct: &[&str]) -> String {
    let (host, port) = (proxy.ip(), proxy.port());
    let direct = direct.iter().filter_map(|host| java_pattern(host)).collect::<Vec<_>>().join("|");
    // http.nonProxyHosts is what the JVM reads for https too.
    format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts={direct} -Djavax.net.ssl.trustStore={trust_dir}/{TRUST_STORE_FILE} \
         -Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD} -Djavax.net.ssl.trustStoreType=PKCS12"
    )
}

/// A host of `NO_PROXY` as `http.nonProxyHosts` writes it, if it can.
fn java_pattern(host: &str) -> Option<String> {
    let unsafe_in_options = |byte: char| byte.is_whitespace() || matches!(byte, '|' | '"' | '\'' | '/');
    if host.contains(unsafe_in_options) {
        return None;
    }
    match host {
        host if host.starts_with('.') => Some(format!("*{host}")),
        host if host.contains(':') && !host.starts_with('[') => Some(format!("[{host}]")),
        host => Some(host.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn pod(extra: &[&str]) -> HashMap<&'static str, String> {
        let extra: Vec<String> = extra.iter().map(|host| (*host).to_owned()).collect();
        let proxy = SocketAddr::from(([127, 0, 0, 1], 8080));
        environment(proxy, "/etc/proxy-ca", &extra).into_iter().map(|(row, value)| (row.name, value)).collect()
    }

    fn row(name: &str) -> &'static Variable {
        VARIABLES.iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn no_variable_is_named_twice() {
        assert_eq!(pod(&[]).len(), VARIABLES.len());
    }

    #[test]
    fn every_row_has_a_value_that_says_what_its_kind_promises() {
        for (row, value) in environment(SocketAddr::from(([127, 0, 0, 1], 8080)), "/trust/", &[]) {
            let expected = match row.kind {
                Kind::ProxyUrl => "http://127.0.0.1:8080",
                Kind::NoProxy => "localhost,127.0.0.1,::1",
                Kind::Roots(Store::Replaces) => "/trust/bundle.crt",
                Kind::Roots(Store::Adds) => "/trust/ca.crt",
                Kind::Settings("wgetrc") => "/trust/wgetrc",
                Kind::Settings(_) => "/trust/apt.conf",
                Kind::Flag(_) => "1",
                Kind::ScanDirs(_) => ":/trust/php",
                Kind::JavaOptions => continue,
            };
            assert_eq!(value, expected, "{}", row.name);
        }
    }

    #[test]
    fn both_cases_of_the_proxy_variables_say_the_same() {
        let pod = pod(&["10.0.0.0/8"]);
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            assert_eq!(pod[name], pod[name.to_uppercase().as_str()]);
        }
    }

    #[test]
    fn an_ipv6_proxy_is_in_brackets_in_urls_and_bare_for_java() {
        let proxy = "[::1]:8080".parse().unwrap();
        let values: HashMap<_, _> =
            environment(proxy, "/trust", &[]).into_iter().map(|(row, value)| (row.name, value)).collect();
        assert_eq!(values["https_proxy"], "http://[::1]:8080");
        assert!(values["JAVA_TOOL_OPTIONS"].contains("-Dhttps.proxyHost=::1 -Dhttps.proxyPort=8080"));
    }

    #[test]
    fn direct_hosts_are_named_once_and_translated_for_java() {
        let pod = pod(&[".svc", "localhost", " 10.0.0.0/8 ", ""]);
        assert_eq!(pod["NO_PROXY"], "localhost,127.0.0.1,::1,.svc,10.0.0.0/8");
        assert!(pod["JAVA_TOOL_OPTIONS"].contains("-Dhttp.nonProxyHosts=localhost|127.0.0.1|[::1]|*.svc -D"));
    }

    #[test]
    fn lists_keep_what_is_there_and_everything_else_is_replaced() {
        assert_eq!(merge(Some("-Xmx1g"), row("JAVA_TOOL_OPTIONS"), "-Da=b"), "-Xmx1g -Da=b");
        assert_eq!(merge(Some("/conf.d"), row("PHP_INI_SCAN_DIR"), ":/trust/php"), "/conf.d:/trust/php");
        assert_eq!(
            merge(Some("http://other:3128"), row("HTTPS_PROXY"), "http://127.0.0.1:8080"),
            "http://127.0.0.1:8080"
        );
        assert_eq!(merge(Some("*"), row("NO_PROXY"), "localhost"), "localhost");
        assert_eq!(merge(None, row("JAVA_TOOL_OPTIONS"), "-Da=b"), "-Da=b");
        assert_eq!(merge(Some(""), row("JAVA_TOOL_OPTIONS"), "-Da=b"), "-Da=b");
    }

    #[test]
    fn merging_twice_is_the_same_as_once() {
        for (row, value) in environment(SocketAddr::from(([127, 0, 0, 1], 8080)), "/trust", &[]) {
            for existing in ["", "-Xmx1g", "/conf.d", "text"] {
                let once = merge(Some(existing), row, &value);
                assert_eq!(merge(Some(&once), row, &value), once, "{}: {existing:?}", row.name);
            }
        }
    }
}
