//! Runs programs in a temporary directory and keeps what they said.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test.
pub(crate) const SANDGATE_CA: &str = env!("CARGO_BIN_EXE_sandgate-ca");

/// A temporary directory in which all programs run.
pub(crate) struct Place(tempfile::TempDir);

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A place with a CA made by `generate` in its subdirectory `ca`.
    pub(crate) fn with_ca(extra: &[&str]) -> Self {
        let place = Self::new();
        place.ca(&[&["generate", "--out", "ca"], extra].concat()).succeeded();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Said {
        let output = Command::new(program).args(args).current_dir(self.0.path()).output();
        Said::new(&output.unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    /// Runs `sandgate-ca`.
    pub(crate) fn ca(&self, args: &[&str]) -> Said {
        self.run(SANDGATE_CA, args)
    }

    /// Runs `openssl`, which must succeed.
    pub(crate) fn openssl(&self, args: &[&str]) -> String {
        let said = self.run("openssl", args);
        assert_eq!(said.code, Some(0), "openssl {args:?}: {said:?}");
        said.out
    }

    /// `openssl verify` in its strict mode.
    pub(crate) fn verify(&self, ca: &str, args: &[&str]) -> Said {
        self.run("openssl", &[&["verify", "-x509_strict", "-CAfile", ca], args].concat())
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// The names in a subdirectory, sorted; empty when it is not there.
    pub(crate) fn entries(&self, name: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(name)) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().display().to_string()).collect();
        names.sort();
        names
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }
}

impl Said {
    pub(crate) fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It failed with `code`, and named each of `words` on stderr.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:?}");
        }
    }
}
