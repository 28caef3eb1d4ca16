//! The images as they were built: what is in them, what they say of themselves, and that they run. `make images-test`
//! has them built first.

mod contents;
mod descriptions;
mod materials;
mod runs;

use std::process::Command;

use sandgate_images_test::{docker, must, repository};
use tempfile::TempDir;

/// The program of an image, which has its name.
struct Image {
    name: &'static str,
    program: &'static str,
    /// What the image's largest file may be together with all others, in bytes.
    limit: u64,
}

const MIB: u64 = 1024 * 1024;
const SIDECAR: Image = Image { name: "sidecar", program: "sandgate-sidecar", limit: 12 * MIB };
const WEBHOOK: Image = Image { name: "webhook", program: "sandgate-webhook", limit: 20 * MIB };
const BOTH: [&Image; 2] = [&SIDECAR, &WEBHOOK];

impl Image {
    fn tag(&self) -> String {
        format!("sandgate/{}:dev", self.name)
    }
}

/// An image's files, unpacked from its layers as the engine stores them, not from a container, which has more.
struct Unpacked {
    dir: TempDir,
    layers: Vec<String>,
}

impl Unpacked {
    fn of(tag: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let archive = dir.path().join("image.tar");
        must(docker(&["save", "--output"]).arg(&archive).arg(tag));
        must(Command::new("tar").arg("-C").arg(dir.path()).arg("-xf").arg(&archive));
        let manifest = std::fs::read(dir.path().join("manifest.json")).expect("docker save writes a manifest");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        let layers = manifest[0]["Layers"].as_array().expect("layers").iter();
        let layers = layers.map(|layer| layer.as_str().expect("a path").to_owned()).collect();
        Self { dir, layers }
    }

    /// Each file of each layer: mode, owner, size, name.
    fn files(&self) -> Vec<(String, String, u64, String)> {
        let mut files = Vec::new();
        for layer in &self.layers {
            let listing = must(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(self.dir.path().join(layer)));
            files.extend(listing.lines().map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let size = words[2].parse().expect("a size");
                (words[0].to_owned(), words[1].to_owned(), size, words[5..].join(" "))
            }));
        }
        files
    }

    /// Unpacks one file, and gives its path.
    fn file(&self, name: &str) -> std::path::PathBuf {
        for layer in &self.layers {
            let layer = self.dir.path().join(layer);
            if must(Command::new("tar").arg("-tf").arg(&layer)).lines().any(|file| file == name) {
                must(Command::new("tar").arg("-C").arg(self.dir.path()).arg("-xf").arg(layer).arg(name));
            }
        }
        self.dir.path().join(name)
    }
}

/// A file of the repository, as text.
fn text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
