//! Every way to build the manifests: the base and each overlay with each set of components, and the examples.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sandgate_testkit::api_server::kustomize;
use sandgate_webhook::documents;
use serde_json::Value;

const BASES: [&str; 3] = ["base", "overlays/kind", "overlays/production"];
const COMPONENTS: [&str; 3] = ["cert-manager", "high-availability", "monitoring"];
const EXAMPLES: [&str; 1] = ["examples/required-namespace"];

/// What kustomize made.
pub(crate) struct Build {
    /// Which directory and components.
    pub(crate) name: String,
    /// The file with its output.
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) objects: Vec<Value>,
}

impl Build {
    /// The only object of a kind and name.
    pub(crate) fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self.find(kind, name);
        found.unwrap_or_else(|| panic!("{}: there is no {kind} {name}", self.name))
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        let mut found = self.kind(kind).filter(|object| object["metadata"]["name"] == name);
        let object = found.next();
        assert!(found.next().is_none(), "{}: there are two of {kind} {name}", self.name);
        object
    }

    pub(crate) fn kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// Whether it is of the webhook, not an example.
    pub(crate) fn is_installation(&self) -> bool {
        !self.name.starts_with("examples/")
    }
}

/// manifests/.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").canonicalize().unwrap()
}

/// The base as it is.
pub(crate) fn base() -> &'static Build {
    &all()[0]
}

/// The base with one component.
pub(crate) fn with(component: &str) -> &'static Build {
    let name = format!("base with {component}");
    all().iter().find(|build| build.name == name).unwrap()
}

/// Each of them, the base first.
pub(crate) fn all() -> &'static [Build] {
    static ALL: OnceLock<Vec<Build>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut builds = Vec::new();
        for base in BASES {
            for set in 0..1_usize << COMPONENTS.len() {
                let chosen = (0..COMPONENTS.len()).filter(|bit| set >> bit & 1 == 1).map(|bit| COMPONENTS[bit]);
                builds.extend(build(base, &chosen.collect::<Vec<_>>()));
            }
        }
        builds.extend(EXAMPLES.into_iter().filter_map(|example| build(example, &[])));
        builds
    })
}

/// `None` where the directory has one of the components already.
fn build(base: &str, components: &[&str]) -> Option<Build> {
    let with = if components.is_empty() { String::new() } else { format!(" with {}", components.join(", ")) };
    let name = format!("{base}{with}");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manifests").join(name.replace(['/', ' ', ','], "-"));
    fs::create_dir_all(&place).unwrap();
    let place = place.canonicalize().unwrap();
    // kustomize takes relative paths alone.
    let up = "../".repeat(place.components().count() - 1);
    let root = format!("{up}{}", directory().strip_prefix("/").unwrap().display());
    let text = match base {
        "base" => format!("resources: [{root}/base]\ncomponents:\n"),
        _ => copy(&directory().join(base), &place, &root),
    };
    if components.iter().any(|name| text.contains(&format!("\n  - {root}/components/{name}\n"))) {
        return None;
    }
    let lines: String = components.iter().map(|name| format!("  - {root}/components/{name}\n")).collect();
    let text = text.replace("components:\n", &format!("components:\n{lines}"));
    fs::write(place.join("kustomization.yaml"), text).unwrap();

    let text = kustomize(&place).unwrap_or_else(|error| panic!("{name}: {error}"));
    let file = place.join("output.yaml");
    fs::write(&file, &text).unwrap();
    let objects = documents::read(text.as_bytes()).unwrap().into_iter().map(|document| document.value).collect();
    Some(Build { name, file, text, objects })
}

/// An overlay as an admin copies it, to add components: what its kustomization.yaml says for another place.
fn copy(overlay: &Path, place: &Path, root: &str) -> String {
    for entry in fs::read_dir(overlay).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), place.join(entry.file_name())).unwrap();
    }
    let text = fs::read_to_string(overlay.join("kustomization.yaml")).unwrap().replace("../..", root);
    if text.contains("\ncomponents:\n") { text } else { text + "components:\n" }
}
