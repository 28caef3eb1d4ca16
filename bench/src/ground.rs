//! What all measurements stand on: certificates, the origin's process, and where things are.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, ensure};
use sandgate_testkit::pki::TestCa;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::names::DOMAIN;

/// Each proxy has this port or a later one, and the one behind it for its health.
const FIRST_PORT: u16 = 3128;

/// The ground. The origin ends when this is dropped.
pub(crate) struct Ground {
    /// The scripts that start proxies.
    pub(crate) peers: PathBuf,
    /// What was built and installed.
    pub(crate) installed: PathBuf,
    /// The certificate that all proxies' leaves are signed by.
    pub(crate) ca_pem: String,
    /// The certificate that the origin's is signed by.
    pub(crate) origin_ca_pem: String,
    directory: TempDir,
    port: AtomicU16,
    _origin: Child,
}

impl Ground {
    /// Makes certificates and starts the origin.
    pub(crate) async fn make(sources: &Path, installed: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())
        };
        let wildcard = format!("*.{DOMAIN}");
        let (ca, origin_ca) = (TestCa::named("Benchmark CA"), TestCa::named("Benchmark origin CA"));
        let (leaf, origin) = (ca.issue(&[&wildcard]), origin_ca.issue(&[&wildcard]));
        write("ca.pem", &ca.root_pem())?;
        write("ca.key", &ca.key_pem())?;
        write("leaf.pem", &leaf.chain_pem())?;
        write("leaf.key", leaf.key_pem())?;
        write("origin-ca.pem", &origin_ca.root_pem())?;
        write("origin.pem", &origin.chain_pem())?;
        write("origin.key", origin.key_pem())?;
        let origin = start_origin(directory.path()).await?;
        let port = AtomicU16::new(FIRST_PORT);
        let peers = sources.join("peers");
        let installed = installed.to_owned();
        let (ca_pem, origin_ca_pem) = (ca.root_pem(), origin_ca.root_pem());
        Ok(Self { peers, installed, ca_pem, origin_ca_pem, directory, port, _origin: origin })
    }

    /// A directory for one proxy, with all that it needs to know.
    pub(crate) fn directory_of_a_peer(&self) -> anyhow::Result<TempDir> {
        let directory = tempfile::tempdir_in(self.directory.path())?;
        for name in ["ca.pem", "ca.key", "leaf.pem", "leaf.key", "origin-ca.pem"] {
            std::fs::copy(self.directory.path().join(name), directory.path().join(name))?;
        }
        Ok(directory)
    }

    /// A port that no proxy had before.
    pub(crate) fn next_port(&self) -> u16 {
        self.port.fetch_add(2, Ordering::Relaxed)
    }
}

async fn start_origin(directory: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("origin").arg(directory).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut origin = command.spawn().context("the origin")?;
    let output = origin.stdout.take().context("the output is piped")?;
    let line = BufReader::new(output).lines().next_line().await?;
    ensure!(line.as_deref() == Some("ready"), "the origin did not start");
    Ok(origin)
}
