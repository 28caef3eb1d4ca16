//! A CA as Kubernetes objects: a Secret for the sidecar, and a ConfigMap with the public half for everybody else.
//! The private key never stands in the ConfigMap.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::authority::Authority;
use sandgate_contract::{CA_BUNDLE_FILE, CA_CERT_FILE, CA_KEY_FILE, CA_PREVIOUS_FILE};

/// What follows the Secret's name in the name of the ConfigMap.
pub const CONFIG_MAP_SUFFIX: &str = "-bundle";
/// The longest name of an object (DNS subdomain, RFC 1123).
const MAX_OBJECT_NAME: usize = 253;
/// The longest name of a namespace (DNS label, RFC 1123).
const MAX_NAMESPACE: usize = 63;

/// A name that Kubernetes does not accept.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name:?} is no valid {what}: lower-case letters, digits and \"-\"{dots}, at most {longest} characters")]
pub struct BadObjectName {
    name: String,
    what: &'static str,
    dots: &'static str,
    longest: usize,
}

/// What the objects are called.
#[derive(Clone, Debug)]
pub struct ObjectNames {
    name: String,
    namespace: Option<String>,
}

impl ObjectNames {
    /// Takes the Secret's name, and the namespace if it is to be written into the objects.
    ///
    /// # Errors
    /// [`BadObjectName`] for what Kubernetes would not accept.
    pub fn new(name: &str, namespace: Option<&str>) -> Result<Self, BadObjectName> {
        let longest = MAX_OBJECT_NAME - CONFIG_MAP_SUFFIX.len();
        if name.len() > longest || !name.split('.').all(is_label) {
            let (what, dots) = ("name of a Secret", ", and \".\" between such parts");
            return Err(BadObjectName { name: name.to_owned(), what, dots, longest });
        }
        if let Some(bad) = namespace.filter(|namespace| namespace.len() > MAX_NAMESPACE || !is_label(namespace)) {
            let (what, dots, longest) = ("namespace", "", MAX_NAMESPACE);
            return Err(BadObjectName { name: bad.to_owned(), what, dots, longest });
        }
        Ok(Self { name: name.to_owned(), namespace: namespace.map(str::to_owned) })
    }

    /// The name of the ConfigMap.
    #[must_use]
    pub fn config_map(&self) -> String {
        format!("{}{CONFIG_MAP_SUFFIX}", self.name)
    }

    /// The metadata of an object. Names are quoted: `1e3` and `true` are valid names, and no strings in YAML.
    fn metadata(&self, name: &str) -> String {
        let namespace = self.namespace.iter().map(|namespace| format!("  namespace: \"{namespace}\"\n"));
        format!("metadata:\n  name: \"{name}\"\n{}", namespace.collect::<String>())
    }
}

/// Both objects as YAML for `kubectl apply -f -`. `previous` is the certificate of the CA before a rotation as PEM.
#[must_use]
pub fn yaml(authority: &Authority, previous: Option<&str>, names: &ObjectNames) -> String {
    secret(authority, previous, names) + "---\n" + &config_map(authority, previous, names)
}

fn secret(authority: &Authority, previous: Option<&str>, names: &ObjectNames) -> String {
    let entry = |key: &str, text: &str| format!("  {key}: {}\n", STANDARD.encode(text));
    let mut out = format!(
        "# The CA with its private key. The sidecar's volume gives the keys their file names:\n\
         #   volumes:\n\
         #   - name: ca\n\
         #     secret:\n\
         #       secretName: {name}\n\
         #       items:\n\
         #       - {{key: tls.crt, path: {CA_CERT_FILE}}}\n\
         #       - {{key: tls.key, path: {CA_KEY_FILE}}}\n",
        name = names.name
    );
    if previous.is_some() {
        out.push_str(&format!("#       - {{key: {CA_PREVIOUS_FILE}, path: {CA_PREVIOUS_FILE}}}\n"));
    }
    out.push_str("apiVersion: v1\nkind: Secret\n");
    out.push_str(&names.metadata(&names.name));
    out.push_str("type: kubernetes.io/tls\ndata:\n");
    out.push_str(&entry("tls.crt", &authority.chain_pem()));
    out.push_str(&entry("tls.key", &authority.private_key_pem()));
    if let Some(previous) = previous {
        out.push_str(&entry(CA_PREVIOUS_FILE, previous));
    }
    out
}

fn config_map(authority: &Authority, previous: Option<&str>, names: &ObjectNames) -> String {
    let mut out = "# The public half: what programs have to trust. Nothing in it is secret.\n".to_owned();
    out.push_str("apiVersion: v1\nkind: ConfigMap\n");
    out.push_str(&names.metadata(&names.config_map()));
    out.push_str("data:\n");
    out.push_str(&block(CA_CERT_FILE, &authority.chain_pem()));
    if let Some(previous) = previous {
        out.push_str(&block(CA_BUNDLE_FILE, &(authority.chain_pem() + previous)));
    }
    out
}

/// A literal block scalar.
fn block(key: &str, text: &str) -> String {
    let lines = text.lines().map(|line| format!("    {line}\n"));
    format!("  {key}: |\n{}", lines.collect::<String>())
}

/// A DNS label of RFC 1123, as Kubernetes checks it.
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_kubernetes_would_refuse_is_refused() {
        for name in ["", "A", "a_b", "-a", "a-", "a..b", "a b", "a\nkind: Pod", &"a".repeat(247)] {
            assert!(ObjectNames::new(name, None).is_err(), "{name}");
        }
        for namespace in ["", "a.b", "A", &"a".repeat(64)] {
            assert!(ObjectNames::new("a", Some(namespace)).is_err(), "{namespace}");
        }
        assert!(ObjectNames::new("sandbox-proxy-ca", Some("sandboxes")).is_ok());
        assert!(ObjectNames::new("a.b", None).is_ok());
    }

    #[test]
    fn an_error_says_what_a_name_may_have() {
        let error = ObjectNames::new("a", Some("A")).unwrap_err().to_string();
        assert!(error.contains("\"A\" is no valid namespace") && error.contains("63"), "{error}");
    }
}
