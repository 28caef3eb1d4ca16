//! Where a client is tried: its namespace, and beside it the proxy with its origin, and the decoy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use sandgate_testkit::origin::Origin;
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::sidecar::{Sidecar, isolated};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, Scenario};
use crate::decoy::{Decoy, Strays};
use crate::exceptions::Exception;
use crate::places::Places;
use crate::space::Space;

/// Build tools and browsers start slowly where tests share their machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long the audit line of a refusal may take to arrive.
const AUDIT_DEADLINE: Duration = Duration::from_secs(1);
const PROXY_PORT: u16 = 8080;

/// One client's surroundings; nothing of them is shared with another's.
pub(crate) struct Stage<'a> {
    places: &'a Places,
    number: u8,
    origin: Origin,
    sidecar: Sidecar,
    decoy: Decoy,
    space: Space,
    directory: TempDir,
}

/// What a client did.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Whether it ended with 0.
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What went past the proxy.
    pub(crate) strays: Strays,
    /// Whether the proxy refused something of this host.
    pub(crate) refused: bool,
    /// The codes of the audit log for this host, each once.
    pub(crate) codes: Vec<String>,
}

impl<'a> Stage<'a> {
    /// Builds all of it. Numbers are from 1 to 254, each in use once at a time.
    pub(crate) async fn build(places: &'a Places, number: u8) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let space = Space::make(number, directory.path()).await?;
        let decoy = Decoy::start(Space::address_of_decoy(number)).await.context("the decoy")?;
        let ca = TestCa::new();
        let address = IpAddr::from(Ipv4Addr::new(127, 77, number, 2));
        let origin = Origin::builder().ca(&ca).address(address).port(443).files(&places.files).start().await;
        let sidecar = sidecar(places, directory.path(), &ca, number, address).await;
        Ok(Self { places, number, origin, sidecar, decoy, space, directory })
    }

    /// Lets the client do this.
    pub(crate) async fn attempt(&self, client: &Client, scenario: Scenario) -> anyhow::Result<Attempt> {
        self.run(client, scenario.verb(), scenario.host(), &[]).await
    }

    /// Lets the client get something of the listed host, or of an address, with other variables about the proxy.
    pub(crate) async fn probe(&self, client: &Client, exception: &Exception) -> anyhow::Result<Attempt> {
        let proxy = format!("http://{}:{PROXY_PORT}", Space::address_of_proxy(self.number));
        let host = match exception.by_address {
            true => Space::address_of_decoy(self.number).to_string(),
            false => Scenario::Listed.host().to_owned(),
        };
        let variables = match exception.no_proxy {
            Some(value) => vec![("NO_PROXY", Some(value)), ("no_proxy", Some(value))],
            None => {
                let none = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"].map(|name| (name, None));
                none.into_iter().chain(["ALL_PROXY", "all_proxy"].map(|name| (name, Some(proxy.as_str())))).collect()
            }
        };
        self.run(client, Scenario::Listed.verb(), &host, &variables).await
    }

    /// Runs the client in an empty directory, which is its home too.
    async fn run(
        &self,
        client: &Client,
        verb: &str,
        host: &str,
        variables: &[(&str, Option<&str>)],
    ) -> anyhow::Result<Attempt> {
        let home = tempfile::tempdir_in(self.directory.path())?;
        let (strays, lines) = (self.decoy.strays(), self.sidecar.audit_lines().len());
        let mut command = self.command(client, home.path())?;
        command.arg(verb).arg(format!("https://{host}"));
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command.spawn().context("the client can't be started")?;
        let (stdout, stderr) = self.watch(&mut child).await?;
        let success = child.wait().await?.success();
        let refused = self.refusal(host, lines, success).await;
        let mut codes: Vec<_> = self.sidecar.audit_lines()[lines..]
            .iter()
            .filter(|line| line["host"] == host)
            .filter_map(|line| Some(line["code"].as_str()?.to_owned()))
            .collect();
        codes.sort();
        codes.dedup();
        Ok(Attempt { success, stdout, stderr, strays: self.decoy.strays().since(strays), refused, codes })
    }

    fn command(&self, client: &Client, home: &Path) -> anyhow::Result<Command> {
        let mut command = self.space.command(home)?;
        command.env_clear();
        let proxy = SocketAddr::from((Space::address_of_proxy(self.number), PROXY_PORT));
        let trust = self.directory.path().join("trust").display().to_string();
        for (variable, value) in sandgate_contract::environment(proxy, &trust, &[]) {
            command.env(variable.name, value);
        }
        command.envs([("HOME", home), ("TMPDIR", home), ("CLIENTS", &self.places.installed)]);
        command.env("PATH", &self.places.path).env("LANG", "C.UTF-8").envs(self.places.toolchains.iter().cloned());
        for word in client.command {
            command.arg(self.places.word(word));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// Reads what the client prints. Each event that it shows lets the origin send the next.
    async fn watch(&self, child: &mut Child) -> anyhow::Result<(String, String)> {
        let mut lines = BufReader::new(child.stdout.take().context("the output is piped")?).lines();
        let mut errors = child.stderr.take().context("the errors are piped")?;
        let (mut stdout, mut stderr) = (String::new(), Vec::new());
        let output = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("event ") {
                    self.origin.release_event();
                }
                stdout.push_str(&line);
                stdout.push('\n');
            }
        };
        let both = async { tokio::join!(output, errors.read_to_end(&mut stderr)) };
        let in_time = tokio::time::timeout(DEADLINE, both).await;
        let mut stderr = String::from_utf8_lossy(&stderr).into_owned();
        if in_time.is_err() {
            child.start_kill()?;
            stderr.push_str("(still running after two minutes)\n");
        }
        Ok((stdout, stderr))
    }

    /// Whether the proxy refused something of the host since so many lines. Waits for the line where there may be one.
    async fn refusal(&self, host: &str, lines: usize, success: bool) -> bool {
        let is_refusal = |line: &serde_json::Value| {
            line["host"] == host && line["verdict"] == "denied" && line["code"] != "client_tls_failed"
        };
        let found = || self.sidecar.audit_lines()[lines..].iter().any(is_refusal);
        if success && host == "origin.test" {
            return found();
        }
        let deadline = tokio::time::Instant::now() + AUDIT_DEADLINE;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !found() && tokio::time::Instant::now() < deadline {
            ticks.tick().await;
        }
        found()
    }
}

/// A proxy whose policy lists one host, and another with no path that anybody asks for.
async fn sidecar(places: &Places, directory: &Path, ca: &TestCa, number: u8, origin: IpAddr) -> Sidecar {
    let file = |name: &str| -> PathBuf { directory.join(name) };
    ca.write_root(&file("origin-ca.pem"));
    std::fs::create_dir(file("trust")).expect("the directory is new");
    let policy = "version: 1\ndestinations:\n\
                  - {id: origin, host: origin.test, private_cidrs: [127.0.0.0/8]}\n\
                  - {id: api, host: api.origin.test, allow: [{methods: [GET], paths: [/v1/allowed]}]}\n";
    std::fs::write(file("policy.yaml"), policy).expect("the directory can be written");
    let listen = format!("{}:{PROXY_PORT}", Space::address_of_proxy(number));
    let mut command = isolated(&places.sidecar, &[]);
    command.args(["serve", "--no-env", "--listen", &listen, "--admin-listen", "127.0.0.1:0", "--ca", "generate"]);
    command.args(["--resolve", &format!("origin.test:443:{origin}")]);
    command.arg("--policy").arg(file("policy.yaml")).arg("--trust-dir").arg(file("trust"));
    command.arg("--upstream-ca").arg(file("origin-ca.pem"));
    Sidecar::start_command(command).await
}
