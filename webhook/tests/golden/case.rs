//! One folder: read, decided, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sandgate_webhook::admission::Request;
use sandgate_webhook::config::{CaMode, Config};
use sandgate_webhook::decision::Decision;
use sandgate_webhook::mode::Mode;
use sandgate_webhook::mutate::mutate;
use sandgate_webhook::namespace::Namespace;
use sandgate_webhook::rendering::Rendering;
use sandgate_webhook::situation::Situation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `situation.yaml`; what it leaves out is an enabled namespace and the configuration's defaults.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    mode: Option<String>,
    /// The namespace's annotations.
    namespace: BTreeMap<String, String>,
    ca_mode: Option<String>,
    image_pull_secrets: Vec<String>,
    /// Images of earlier renderings that are accepted.
    accepted: Vec<String>,
}

/// `review.yaml`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Review {
    operation: String,
    #[serde(default)]
    sub_resource: String,
    object: Value,
    #[serde(default)]
    old_object: Value,
}

/// `response.yaml`.
#[derive(Serialize)]
struct Response<'a> {
    outcome: &'a str,
    reason: &'a str,
    message: &'a str,
    warnings: &'a [String],
}

/// A behaviour, and everything that its decision is made from.
pub(crate) struct Case {
    folder: PathBuf,
    pub(crate) mode: Mode,
    namespace: Namespace,
    config: Config,
    rendering: Rendering,
    accepted: Vec<Rendering>,
    pub(crate) request: Request,
}

impl Case {
    pub(crate) fn load(name: &str) -> Self {
        let folder = root().join(folder(name));
        let given: Given = read(&folder.join("situation.yaml")).unwrap_or_default();
        let mut config = Config::default();
        config.sidecar.image = "registry.example/sandgate/sidecar:1.0.0".to_owned();
        config.sidecar.image_pull_secrets = given.image_pull_secrets;
        config.ca.mode = if given.ca_mode.as_deref() == Some("secret") { CaMode::Secret } else { CaMode::Pod };
        let rendering = rendering(&config);
        let accepted = given.accepted.into_iter().map(|image| earlier(&config, image)).collect();
        let mode = given.mode.map_or(Mode::Enabled, |name| Mode::from_name(&name).expect("a mode's name"));
        let namespace = Namespace::new("sandbox-containers", &given.namespace);
        let request = request(&folder);
        Self { folder, mode, namespace, config, rendering, accepted, request }
    }

    pub(crate) fn situation(&self) -> Situation<'_> {
        Situation {
            mode: self.mode,
            namespace: &self.namespace,
            config: &self.config,
            rendering: &self.rendering,
            accepted: &self.accepted,
        }
    }

    pub(crate) fn decide(&self) -> Decision {
        mutate(&self.situation(), &self.request)
    }

    /// Compares with what the folder says goes out.
    pub(crate) fn check(&self) {
        let decision = self.decide();
        let response = Response {
            outcome: decision.reason.outcome().name(),
            reason: decision.reason.code(),
            message: &decision.message,
            warnings: &decision.warnings,
        };
        let response = serde_saphyr::to_string(&response).expect("texts are YAML");
        let patch = serde_json::to_string_pretty(&decision.patch).expect("a patch is JSON") + "\n";
        self.compare("patch.json", &patch);
        self.compare("response.yaml", &response);
    }

    fn compare(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, text).unwrap();
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let diff = similar::TextDiff::from_lines(expected.as_str(), text);
        assert!(expected == text, "{}: run `make golden`\n{}", path.display(), diff.unified_diff());
    }
}

/// The folder of a test.
pub(crate) fn folder(name: &str) -> String {
    name.replace('_', "-")
}

/// Every folder there is.
pub(crate) fn folders() -> BTreeSet<String> {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What the program makes, under a version and a hash that don't change with it.
fn rendering(config: &Config) -> Rendering {
    Rendering {
        version: "1.0.0".to_owned(),
        configuration: "0123456789ab".to_owned(),
        ..Rendering::new(config, &["10.0.0.10:53".parse().unwrap()])
    }
}

/// What an earlier configuration made: another image, and another host that was reached directly.
fn earlier(config: &Config, image: String) -> Rendering {
    let mut config = config.clone();
    config.sidecar.image = image;
    config.environment.no_proxy = vec!["earlier.example".to_owned()];
    rendering(&config)
}

fn request(folder: &Path) -> Request {
    let review = read(&folder.join("review.yaml")).unwrap_or_else(|| Review {
        operation: "CREATE".to_owned(),
        sub_resource: String::new(),
        object: read(&folder.join("pod.yaml")).expect("pod.yaml or review.yaml"),
        old_object: Value::Null,
    });
    Request {
        uid: "1".to_owned(),
        kind: "v1/Pod".to_owned(),
        resource: "pods".to_owned(),
        sub_resource: review.sub_resource,
        namespace: "sandbox-containers".to_owned(),
        name: String::new(),
        operation: review.operation,
        dry_run: false,
        object: review.object,
        old_object: review.old_object,
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read_to_string(path).ok()?;
    Some(serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
