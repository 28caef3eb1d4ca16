//! Where things are: what `install` put below `target/clients`, and the programs of ours.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// Paths that all clients share.
pub(crate) struct Places {
    /// `clients/` of the checkout.
    pub(crate) sources: PathBuf,
    /// `target/clients`.
    pub(crate) installed: PathBuf,
    /// What the origin serves as files.
    pub(crate) files: PathBuf,
    /// The program under test.
    pub(crate) sidecar: PathBuf,
    /// The clients' `PATH`.
    pub(crate) path: String,
    /// Where cargo finds its toolchain, whose home is not the client's.
    pub(crate) toolchains: Vec<(String, PathBuf)>,
}

impl Places {
    /// Finds them, or says what is missing.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
        let installed = std::path::absolute(sources.join("../target/clients"))?;
        let sidecar = std::env::current_exe()?.with_file_name("sandgate-sidecar");
        for path in [&installed.join("files"), &sidecar] {
            ensure!(path.exists(), "{} is missing: this program is started by `make clients`", path.display());
        }
        let bin = |name: &str| installed.join(name).display().to_string();
        let own = [
            // Before the npm that comes with Node.
            bin("npm/node_modules/.bin"),
            bin("venv/bin"),
            bin("npm/node_modules/@oven/bun-linux-x64/bin"),
            bin("npm/node_modules/@deno/linux-x64-glibc"),
            bin("go/bin"),
            bin("rust/target/debug"),
        ];
        let path = format!("{}:{}", own.join(":"), std::env::var("PATH").context("PATH is not set")?);
        let home = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
        let toolchain = |variable: &str, directory: &str| {
            std::env::var_os(variable).map_or_else(|| home.join(directory), PathBuf::from)
        };
        let toolchains = vec![("RUSTUP_HOME".to_owned(), toolchain("RUSTUP_HOME", ".rustup"))];
        Ok(Self { files: installed.join("files"), sources, installed, sidecar, path, toolchains })
    }

    /// A word of a client's command: a program of ours by its path, one that was installed, or the word as it is.
    pub(crate) fn word(&self, word: &str) -> PathBuf {
        match word {
            _ if word.starts_with("programs/") => self.sources.join(word),
            _ if word.starts_with("installed/") => self.installed.join(word.trim_start_matches("installed/")),
            _ => PathBuf::from(word),
        }
    }
}
