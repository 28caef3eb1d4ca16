//! Starts the program as an operator would, beside an origin of the testkit.

use std::path::Path;

use sandgate_testkit::client::ClientTls;
use sandgate_testkit::origin::Origin;
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::sidecar::Sidecar;
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sandgate-sidecar");

/// A sidecar in a directory of its own, with a CA made at start and the policy in a file.
pub(crate) struct Setup {
    /// The running program.
    pub(crate) sidecar: Sidecar,
    /// Holds `policy.yaml`, `trust/` and `origin-ca.pem`.
    pub(crate) dir: TempDir,
}

impl Setup {
    /// Starts the program with a policy of these destinations (the YAML below `destinations:`), trusting `ca` for
    /// origins. `arguments` come after those of the setup.
    pub(crate) async fn start(ca: &TestCa, destinations: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        ca.write_root(&dir.path().join("origin-ca.pem"));
        write_policy(dir.path(), destinations);
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (policy, trust, roots) = (path("policy.yaml"), path("trust"), path("origin-ca.pem"));
        std::fs::create_dir(&trust).expect("the trust directory");
        let mut all = vec!["--no-env", "--ca", "generate", "--policy", &policy, "--policy-poll", "50ms"];
        all.extend(["--trust-dir", &trust, "--upstream-ca", &roots]);
        all.extend(arguments);
        let sidecar = Sidecar::start(Path::new(PROGRAM), &all, &[]).await;
        Self { sidecar, dir }
    }

    /// Puts another policy in place, whole.
    pub(crate) fn set_policy(&self, destinations: &str) {
        write_policy(self.dir.path(), destinations);
    }

    /// TLS as a client in the pod has it: trusting the sidecar's CA.
    pub(crate) fn client_tls(&self) -> ClientTls {
        let ca = std::fs::read_to_string(self.dir.path().join("trust/ca.crt")).expect("the trust files are there");
        ClientTls::new(&ca)
    }
}

fn write_policy(dir: &Path, destinations: &str) {
    let text = format!("version: 1\ndestinations:\n{destinations}");
    let aside = dir.join("policy.yaml.new");
    std::fs::write(&aside, text).expect("the policy is written");
    std::fs::rename(aside, dir.join("policy.yaml")).expect("the policy is put in place");
}

/// A destination for an origin on loopback: `origin.test` at its port.
pub(crate) fn allow(origin: &Origin) -> String {
    format!(
        "  - id: origin\n    host: origin.test\n    ports: [{}]\n    private_cidrs: [127.0.0.0/8, \"::1/128\"]\n",
        origin.port()
    )
}

/// `--resolve` for an origin on loopback.
pub(crate) fn resolve(origin: &Origin) -> String {
    format!("origin.test:{}:127.0.0.1", origin.port())
}
