//! The proxy on the way to origins, as settings and variables name it. No error and no debug output here repeats what
//! was given: there may be a password in it.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use sandgate_policy::destination::{Authority, Host, Scheme};

/// Which proxy leads to origins of each scheme, if one does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// To those of `https://`.
    pub https: Option<Arc<ProxyUrl>>,
    /// To those of `http://`.
    pub http: Option<Arc<ProxyUrl>>,
}

impl Proxies {
    /// The proxy for a scheme, if there is one.
    #[must_use]
    pub fn of(&self, scheme: Scheme) -> Option<&Arc<ProxyUrl>> {
        match scheme {
            Scheme::Https => self.https.as_ref(),
            Scheme::Http => self.http.as_ref(),
        }
    }

    /// Every proxy that there is, one that leads to both only once.
    pub fn each(&self) -> impl Iterator<Item = &Arc<ProxyUrl>> {
        let other = self.http.as_ref().filter(|http| self.https.as_ref() != Some(http));
        self.https.iter().chain(other)
    }
}

/// Where a proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// Whether the proxy itself is spoken to over TLS.
    pub scheme: Scheme,
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// What stood before the host in a variable of the user's. A setting has none.
    pub credentials: Option<Credentials>,
}

/// As a URL, without credentials.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

impl ProxyUrl {
    /// Parses `http://HOST:PORT` or `https://HOST:PORT`, the form of a setting.
    ///
    /// # Errors
    /// What is wrong and what to write instead, without the text.
    pub fn of_setting(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err(
                "user and password do not belong in the URL, which process lists and logs show: put user:password \
                        into a file that only the sidecar reads, and name it with --upstream-proxy-auth-file"
                    .to_owned(),
            );
        }
        let (scheme, rest) = split_scheme(text)?;
        let none = || match text.eq_ignore_ascii_case("none") {
            true => "for no proxy, write none in small letters".to_owned(),
            false => wrong("it does not begin with http:// or https://"),
        };
        Self::new(scheme.ok_or_else(none)?, rest, None)
    }

    /// Parses the value of a variable such as `HTTPS_PROXY`: as programs read it, with or without scheme, port and
    /// credentials.
    ///
    /// # Errors
    /// As those of [`Self::of_setting`].
    pub fn of_variable(text: &str) -> Result<Self, String> {
        let (scheme, rest) = split_scheme(text)?;
        let scheme = scheme.unwrap_or(Scheme::Http);
        let Some((user, rest)) = rest.rsplit_once('@') else {
            return Self::new(scheme, rest, Some(scheme.default_port()));
        };
        let user = percent_decoded(user).ok_or("a % before the host is not followed by two hexadecimal digits")?;
        let user = if user.contains(':') { user } else { user + ":" };
        let credentials = Credentials::parse(&user).map_err(|what| format!("before the host: {what}"))?;
        let url = Self::new(scheme, rest, Some(scheme.default_port()))?;
        Ok(Self { credentials: Some(credentials), ..url })
    }

    fn new(scheme: Scheme, authority: &str, port: Option<u16>) -> Result<Self, String> {
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let authority = Authority::parse(authority).map_err(|_| wrong(fault(authority)))?;
        let port = authority.port.or(port).ok_or_else(|| wrong("it has no port"))?;
        Ok(Self { scheme, host: authority.host, port, credentials: None })
    }
}

fn wrong(what: &str) -> String {
    format!(
        "the value is not a proxy's URL: {what}; one is such as http://proxy.example:3128 or https://proxy.example:443"
    )
}

/// Why this is no host with a port.
fn fault(authority: &str) -> &'static str {
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if authority.contains(|char: char| char.is_whitespace() || char.is_control()) {
        "there is a blank in it"
    } else if authority.contains(['/', '?', '#']) {
        "there is a path behind its host and port: remove that"
    } else if port.is_some_and(|port| port.parse().unwrap_or(0_u16) == 0) {
        "its port is not a number from 1 to 65535"
    } else {
        "its host is neither a name nor an address (an IPv6 address stands in brackets)"
    }
}

/// The scheme, where the text has one, and what follows it.
fn split_scheme(text: &str) -> Result<(Option<Scheme>, &str), String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((None, text)) };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((Some(Scheme::Http), rest)),
        "https" => Ok((Some(Scheme::Https), rest)),
        socks if socks.starts_with("socks") => {
            Err("SOCKS is not supported: name a proxy that takes CONNECT, as http:// or https://".to_owned())
        }
        _ => Err("the scheme of a proxy is http:// or https://".to_owned()),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let decoded = if byte == b'%' { u8::try_from(digit()? << 4 | digit()?).ok()? } else { byte };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

/// The value of `Proxy-Authorization` with user and password (RFC 7617). Debug output hides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(HeaderValue);

impl Credentials {
    /// Makes them of `user:password`.
    ///
    /// # Errors
    /// What is wrong, without any part of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.split_once(':') {
            None => return Err("there is no : between user and password"),
            Some(("", _)) => return Err("there is no user before the :"),
            // RFC 7617 2: neither has control characters.
            Some(_) if text.contains(|char: char| char.is_ascii_control()) => {
                return Err("there is more than one line, or a control character");
            }
            Some(_) => {}
        }
        let value = format!("Basic {}", BASE64_STANDARD.encode(text));
        let mut value = HeaderValue::try_from(value).map_err(|_| "user and password are too long")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The field value, marked as sensitive.
    #[must_use]
    pub fn field(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_whole_url_and_its_errors_never_repeat_it() {
        let parsed = |text| ProxyUrl::of_setting(text).map(|url| url.to_string());
        assert_eq!(parsed("http://Proxy.Test:3128").as_deref(), Ok("http://proxy.test:3128"));
        assert_eq!(parsed("HTTPS://[::1]:443/").as_deref(), Ok("https://[::1]:443"));
        for text in [
            "http://secret.test",
            "secret.test:3128",
            "http://secret.test:3128/path",
            "http://secret.test:0",
            "socks5h://secret.test:1080",
            "ftp://secret.test:21",
            "http://user:secret@proxy.test:3128",
            "http://us/er:secret@proxy.test:3128",
        ] {
            let error = parsed(text).unwrap_err();
            assert!(!error.contains("secret") && !error.contains("user:s"), "{text}: {error}");
        }
        for (text, what) in [
            ("proxy.test:3128", "does not begin with http:// or https://"),
            ("NONE", "write none in small letters"),
            ("http://proxy.test", "no port"),
            ("http://proxy.test:", "port is not a number"),
            ("http://proxy.test:0", "port is not a number from 1 to 65535"),
            ("http://proxy.test:99999", "port is not a number from 1 to 65535"),
            ("http://proxy.test:3128/path", "path"),
            ("http://proxy.test:3128 ", "blank"),
            ("http://:3128", "host is neither"),
            ("http://::1:3128", "brackets"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
        assert!(parsed("http://u:p@proxy.test:3128").unwrap_err().contains("--upstream-proxy-auth-file"));
        assert!(parsed("socks5://proxy.test:1080").unwrap_err().contains("http://"));
    }

    #[test]
    fn a_variable_is_read_as_programs_read_it() {
        let url = ProxyUrl::of_variable("http://us%65r:p%40ss%3a@proxy.test:3128/").unwrap();
        assert_eq!(url.to_string(), "http://proxy.test:3128");
        assert_eq!(url.credentials, Some(Credentials::parse("user:p@ss:").unwrap()));
        assert!(!format!("{url:?}").contains("p@ss") && !format!("{url:?}").contains("dXNlcj"), "{url:?}");
        let shown = |text| ProxyUrl::of_variable(text).map(|url| url.to_string());
        assert_eq!(shown("proxy.test:3128").as_deref(), Ok("http://proxy.test:3128"));
        assert_eq!(shown("proxy.test").as_deref(), Ok("http://proxy.test:80"));
        assert_eq!(shown("https://proxy.test").as_deref(), Ok("https://proxy.test:443"));
        assert_eq!(ProxyUrl::of_variable("user@proxy.test").unwrap().credentials, Credentials::parse("user:").ok());
        for text in [
            "http://%zz:secret@proxy.test",
            "http://a%0a:secret@proxy.test",
            "http://:secret@proxy.test",
            "http://u:secret@",
        ] {
            let error = shown(text).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_are_those_of_rfc_7617() {
        let field = Credentials::parse("Aladdin:open sesame").unwrap().field();
        assert_eq!(field, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(field.is_sensitive());
        for text in ["", "user", ":password", "user:a\nuser:b", "user:\0"] {
            assert!(Credentials::parse(text).is_err(), "{text:?}");
        }
    }
}
