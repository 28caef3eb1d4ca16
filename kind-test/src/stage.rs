//! What a test gets: namespaces of its own, which are deleted when it ends.

use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::api;
use crate::kubectl::kubectl;
use crate::origins::{Origins, ROOTS_CONFIG_MAP};
use crate::space::Space;

/// Names of namespaces have at most 63 characters.
const NAME_LENGTH: usize = 44;

static RUN_ID: LazyLock<String> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    format!("{:04x}", (now.as_millis() / 100) % 0x1_0000)
});

/// Tells this run's namespaces from those of one before, which may still be ending.
#[must_use]
pub fn run_id() -> &'static str {
    &RUN_ID
}

/// One test's part of the cluster.
pub struct Stage {
    name: String,
    spaces: Mutex<Vec<String>>,
}

impl Stage {
    /// For the test of this name.
    #[must_use]
    pub fn new(test: &str) -> Self {
        let words = test.rsplit("::").next().unwrap_or(test).replace('_', "-");
        let name: String = words.chars().take(NAME_LENGTH).collect();
        Self { name: name.trim_end_matches('-').to_owned(), spaces: Mutex::default() }
    }

    /// A namespace with this label `sandgate.dev/inject` (none if empty), the policy of [`Origins::policy`], and the roots
    /// of the origins.
    #[must_use]
    pub fn namespace(&self, mode: &str) -> Space {
        let space = self.bare_namespace(mode, &json!({}));
        space.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            config_map("sandgate-policy", "policy.yaml", &Origins::shared().policy()),
            config_map(ROOTS_CONFIG_MAP, "ca.crt", &Origins::shared().roots),
        ]}));
        space
    }

    /// A namespace with nothing in it, with `metadata` merged into its own.
    #[must_use]
    pub fn bare_namespace(&self, mode: &str, metadata: &Value) -> Space {
        let name = self.next_name();
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"sandgate-e2e": run_id()}}});
        if !mode.is_empty() {
            namespace["metadata"]["labels"]["sandgate.dev/inject"] = mode.into();
        }
        let namespace = crate::objects::with(namespace, &json!({"metadata": metadata}));
        let _applied = kubectl(&["apply", "-f", "-"], &namespace.to_string()).accepted();
        let space = Space::new(name);
        space.wait_for_service_account();
        space
    }

    /// The name of another namespace of this test, which it makes itself.
    #[must_use]
    pub fn next_name(&self) -> String {
        let mut spaces = self.spaces.lock().unwrap();
        let name = format!("{}-{}-{}", self.name, run_id(), spaces.len() + 1);
        spaces.push(name.clone());
        name
    }

    /// Deletes another object when the test ends, by its path.
    pub fn delete_later(&self, path: String) {
        self.spaces.lock().unwrap().push(path);
    }

    /// The namespaces so far.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.spaces.lock().unwrap().iter().filter(|name| !name.starts_with('/')).cloned().collect()
    }

    /// Deletes all that the test made, without waiting for the end of it.
    pub fn clear(&self) {
        for name in self.spaces.lock().unwrap().drain(..) {
            let path = if name.starts_with('/') { name } else { format!("/api/v1/namespaces/{name}") };
            let _gone = api::delete(&path);
        }
    }
}

/// A ConfigMap with one file.
#[must_use]
pub fn config_map(name: &str, file: &str, content: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {file: content}})
}
