//! Hosts whose names need care: international ones, addresses, and those with an underscore. What clients refuse by
//! themselves is in docs/policy.md.

use sandgate_testkit::origin::{Builder, Origin};

use crate::harness::{Bench, ZEN, python, tool};

/// Each argument is one of three libraries and a URL for it.
const PYTHON: &str = r#"
import os, sys, httpx, requests, urllib.request
proxy = os.environ["HTTPS_PROXY"]
ways = {
    "requests": lambda url: requests.get(url).text,
    "httpx": lambda url: httpx.get(url).text,
    "urllib": lambda url: urllib.request.urlopen(url).read().decode(),
    # Past NO_PROXY, which names the loopback address that stands for any other here.
    "requests-proxied": lambda url: requests.get(url, proxies={"https": proxy}).text,
}
for argument in sys.argv[1:]:
    way, url = argument.split("=", 1)
    print(ways[way](url), end="")
"#;
const NODE: &str = r#"
for (const url of process.argv.slice(2)) process.stdout.write(await (await fetch(url)).text());
"#;
struct Named(Bench);

impl Named {
    async fn start(host: &'static str, origin: Builder) -> Self {
        Self(Bench::start_as(host, origin).await)
    }

    /// The page at each spelling of the host.
    fn urls(&self, spellings: &[&str]) -> Vec<String> {
        spellings.iter().map(|host| format!("https://{host}:{}/zen", self.0.origin.port())).collect()
    }

    /// Asserts that the client got the page as often as it should, from the one host in its canonical form.
    async fn reached(&self, client: &[&str], times: usize) {
        let before = self.0.origin.request_count();
        let finished = self.0.run_with(&[("LC_ALL", "C.UTF-8")], client).await;
        assert_eq!(finished.stdout, ZEN.repeat(times), "{client:?}: {}", finished.stderr);
        let hosts = finished.summary["hosts"].as_array().expect("a list of hosts");
        assert_eq!((hosts.len(), hosts[0]["requests"].as_u64()), (1, Some(times as u64)), "{client:?}: {hosts:?}");
        let authority = format!("{}:{}", hosts[0]["host"].as_str().expect("a host"), hosts[0]["port"]);
        assert_eq!(authority, self.0.listed(), "{client:?}");
        assert_eq!(self.0.origin.request_count(), before + times, "{client:?}");
    }

    async fn curl(&self, arguments: &[&str], spellings: &[&str]) {
        let urls = self.urls(spellings);
        let client = ["curl", "-sS"].iter().chain(arguments).copied().chain(urls.iter().map(String::as_str));
        self.reached(&client.collect::<Vec<_>>(), spellings.len()).await;
    }

    async fn python(&self, ways: &[(&str, &[&str])]) {
        let asked = ways
            .iter()
            .flat_map(|(way, spellings)| self.urls(spellings).into_iter().map(move |url| format!("{way}={url}")));
        let mut client = vec![python(), self.0.script("client.py", PYTHON)];
        client.extend(asked);
        let client: Vec<&str> = client.iter().map(String::as_str).collect();
        self.reached(&client, client.len() - 2).await;
    }

    async fn node(&self, spellings: &[&str]) {
        let mut client = vec![tool("node/bin/node"), self.0.script("client.mjs", NODE)];
        client.extend(self.urls(spellings));
        self.reached(&client.iter().map(String::as_str).collect::<Vec<_>>(), spellings.len()).await;
    }

    /// The names that the origin was asked for in TLS.
    fn assert_server_name(&self, expected: Option<&str>) {
        let requests = self.0.requests();
        let mut names = requests.iter().map(|request| request.tls.as_ref().and_then(|tls| tls.sni.as_deref()));
        assert!(names.all(|name| name == expected), "another name than {expected:?}");
    }
}

#[tokio::test]
async fn an_international_name_is_one_host_in_every_form_that_a_client_takes() {
    let named = Named::start("xn--bcher-kva.test", Origin::builder().names(&["xn--bcher-kva.test"])).await;
    let labels = ["b\u{fc}cher.test", "B\u{dc}CHER.test", "xn--bcher-kva.test"];
    let all = [&labels[..], &["b\u{fc}cher\u{3002}test", "b\u{fc}cher\u{ff0e}test"]].concat();
    named.curl(&[], &all).await;
    // requests takes no other dot, and urllib nothing but ASCII.
    named.python(&[("httpx", &all), ("requests", &labels), ("urllib", &labels[2..])]).await;
    named.node(&all).await;
    named.assert_server_name(Some("xn--bcher-kva.test"));
}

#[tokio::test]
async fn an_address_is_verified_by_the_address_in_its_leaf() {
    let v4 = ["127.0.0.2"];
    let origin = Origin::builder().names(&v4).address(v4[0].parse().expect("an address"));
    let named = Named::start(v4[0], origin).await;
    named.curl(&[], &v4).await;
    named.python(&["requests", "httpx", "urllib"].map(|way| (way, &v4[..]))).await;
    named.node(&v4).await;
    named.assert_server_name(None);

    // Node 24.19 takes no certificate for any IPv6 address; httpx, Python 3.11's urllib and `openssl s_client` forget the
    // brackets in their CONNECT, which is a 400. What OpenSSL makes of the leaf is tested beside the leaves.
    let named = Named::start("[::1]", Origin::builder().address("::1".parse().expect("an address"))).await;
    named.curl(&["--noproxy", ""], &["[::1]"]).await;
    named.python(&[("requests-proxied", &["[::1]"])]).await;
    named.assert_server_name(None);
}

#[tokio::test]
async fn a_host_with_an_underscore_is_a_host_like_any_other() {
    let hosts = ["_my_host.test"];
    let named = Named::start(hosts[0], Origin::builder().names(&hosts)).await;
    named.curl(&[], &hosts).await;
    named.reached(&["wget", "-qO-", &named.urls(&hosts)[0]], 1).await;
    named.python(&["requests", "httpx", "urllib"].map(|way| (way, &hosts[..]))).await;
    named.node(&hosts).await;
    named.assert_server_name(Some(hosts[0]));
}
