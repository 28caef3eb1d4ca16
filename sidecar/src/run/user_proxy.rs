//! The proxy that the user's own programs go through, by their variables: `run` reaches origins through it too. Nothing
//! that is said of it here has its credentials.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use crate::settings::Direct;
use crate::settings::upstream_proxy::{Proxies, ProxyUrl};

/// The variables for each scheme, the strongest first: as curl and Python read them.
const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What the user's variables say, and what the user is told of it.
#[derive(Debug, Default)]
pub(super) struct UserProxy {
    pub(super) proxies: Proxies,
    pub(super) direct: Vec<Direct>,
    /// Sentences for stderr.
    pub(super) said: Vec<String>,
}

impl UserProxy {
    /// Reads them. Without a proxy there is nothing to say. `has_file` is whether a file has the credentials, which then
    /// come before those of the variables.
    ///
    /// # Errors
    /// What can't be used, each with its variable and what to do.
    pub(super) fn of(variables: &[(OsString, OsString)], has_file: bool) -> Result<Self, Vec<String>> {
        let (https, http) = (Named::of(variables, &HTTPS), Named::of(variables, &HTTP));
        let mut problems: Vec<String> =
            [&https, &http].into_iter().filter_map(|it| it.as_ref().err().cloned()).collect();
        problems.dedup();
        let (Ok(https), Ok(http)) = (https, http) else { return Err(problems) };
        let mut said = Vec::new();
        for (scheme, named) in [("https", &https), ("http", &http)] {
            if let Some(Named { variable, url }) = named {
                let hidden = match (has_file, &url.credentials) {
                    (true, _) => ", with the credentials of --upstream-proxy-auth-file",
                    (false, Some(_)) => ", with the credentials in it",
                    (false, None) => "",
                };
                said.push(format!("{scheme}:// origins are reached through the proxy of {variable}: {url}{hidden}"));
            }
        }
        let url = |named: Option<Named>| named.map(|named| Arc::new(named.url));
        let proxies = Proxies { https: url(https), http: url(http) };
        let mut user = Self { proxies, direct: Vec::new(), said };
        if let Some((variable, list)) = set(variables, &NO_PROXY).filter(|_| !user.said.is_empty()) {
            user.add_direct(variable, &list.to_string_lossy());
        }
        Ok(user)
    }

    /// Programs separate by commas, spaces or both, and pass over what they don't understand.
    fn add_direct(&mut self, variable: &str, list: &str) {
        for entry in list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()) {
            match Direct::of_variable(entry) {
                Ok(direct) => self.direct.push(direct),
                Err(reason) => self.said.push(format!("{variable}: {reason}: it is passed over")),
            }
        }
        if !self.direct.is_empty() {
            self.said.push(format!("but not those that {variable} lists"));
        }
    }
}

struct Named {
    variable: &'static str,
    url: ProxyUrl,
}

impl Named {
    fn of(variables: &[(OsString, OsString)], names: &[&'static str]) -> Result<Option<Self>, String> {
        let Some((variable, value)) = set(variables, names) else { return Ok(None) };
        let url = value.to_str().ok_or_else(|| "the value is not UTF-8".to_owned()).and_then(ProxyUrl::of_variable);
        let remedy =
            "; mend or unset it, name another proxy with --upstream-proxy, or use none with --upstream-proxy none";
        url.map(|url| Some(Self { variable, url })).map_err(|reason| format!("{variable}: {reason}{remedy}"))
    }
}

/// The first of these variables that is set and not empty.
fn set<'a>(variables: &'a [(OsString, OsString)], names: &[&'static str]) -> Option<(&'static str, &'a OsStr)> {
    let value = |name: &str| variables.iter().find(|(known, value)| known == name && !value.is_empty());
    names.iter().find_map(|name| value(name).map(|(_, value)| (*name, value.as_os_str())))
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::{Destination, Host, Scheme};

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<UserProxy, Vec<String>> {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        UserProxy::of(&variables, false)
    }

    fn shown(proxy: Option<&Arc<ProxyUrl>>) -> Option<String> {
        proxy.map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_variable_in_either_case_and_all_proxy_is_the_last() {
        let user = of(&[("HTTPS_PROXY", "http://upper.test:1"), ("https_proxy", "http://lower.test:2")]).unwrap();
        assert_eq!(shown(user.proxies.https.as_ref()).as_deref(), Some("http://lower.test:2"));
        assert_eq!(user.proxies.http, None);
        let user =
            of(&[("HTTP_PROXY", "http://plain.test:1"), ("ALL_PROXY", "all.test:2"), ("https_proxy", "")]).unwrap();
        assert_eq!(shown(user.proxies.http.as_ref()).as_deref(), Some("http://plain.test:1"));
        assert_eq!(shown(user.proxies.https.as_ref()).as_deref(), Some("http://all.test:2"));
    }

    #[test]
    fn what_is_said_names_variable_and_proxy_and_no_credentials() {
        let user =
            of(&[("https_proxy", "http://me:secret@proxy.test:3128"), ("NO_PROXY", "a.test,<local> .b.test")]).unwrap();
        let said = user.said.join("\n");
        assert!(said.contains("https_proxy: http://proxy.test:3128, with the credentials in it"), "{said}");
        assert!(said.contains("\"<local>\" is not") && said.contains("but not those that NO_PROXY lists"), "{said}");
        assert!(!said.contains("secret") && !said.contains("me:"), "{said}");
        let to = |host| Destination { scheme: Scheme::Https, host: Host::parse(host).unwrap(), port: 443 };
        let direct = |host| user.direct.iter().any(|direct| direct.has(&to(host)));
        assert!(direct("a.test") && direct("x.b.test") && !direct("b.test"));
        assert!(of(&[("NO_PROXY", "<local>")]).unwrap().said.is_empty(), "there is no proxy");
    }

    #[test]
    fn what_cannot_be_used_is_an_error_that_says_what_to_do() {
        let problems = of(&[("ALL_PROXY", "socks5://me:secret@proxy.test:1080")]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("ALL_PROXY: SOCKS is not supported"), "{problems:?}");
        assert!(problems[0].contains("--upstream-proxy none") && !problems[0].contains("secret"), "{problems:?}");
        let user = of(&[("ALL_PROXY", "socks5://proxy.test"), ("HTTPS_PROXY", "a.test:1"), ("HTTP_PROXY", "a.test:1")]);
        assert!(user.is_ok(), "what is not used does not matter");
    }
}
