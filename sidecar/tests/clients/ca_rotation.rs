//! Programs that run on while the CA is rotated: what each makes of a certificate whose CA was not in the bundle yet when it
//! read that. docs/rotation.md has the outcomes as a table.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sandgate_contract::environment;
use sandgate_testkit::origin::Origin;
use sandgate_testkit::sidecar::{Sidecar, isolated, program_beside, run_command};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::harness::{python, tool};

const SIDECAR: &str = env!("CARGO_BIN_EXE_sandgate-sidecar");
/// Far longer than what happens in it: one request by each way of programs that run already.
const OVERLAP: &str = "6s";
const DEADLINE: Duration = Duration::from_secs(60);
/// Hosts that nobody asked for before their time, so that their leaves are made by whoever signs then.
const HOSTS: [&str; 4] = ["before", "during", "after", "again"];

/// A way to make a request, and what is said where the roots were read once; where they are read for each connection,
/// nothing is missed.
struct Way(&'static str, Option<&'static str>);

const OPENSSL: Option<&str> = Some("certificate verify failed: unable to get local issuer certificate");
const BORINGSSL: Option<&str> = Some("CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate");
const NODE_SAYS: Option<&str> =
    Some("fetch failed: UNABLE_TO_VERIFY_LEAF_SIGNATURE: unable to verify the first certificate");
const JAVA_SAYS: Option<&str> = Some("SSLHandshakeException: PKIX path validation failed");
const GO_SAYS: Option<&str> = Some("tls: failed to verify certificate: x509: certificate signed by unknown authority");

const PYTHON_WAYS: &[Way] = &[
    Way("requests.Session", None),
    Way("requests.get", None),
    Way("urllib.urlopen", None),
    Way("httpx.get", None),
    Way("httpx.Client", OPENSSL),
    Way("ssl.SSLContext", OPENSSL),
    Way("grpc", BORINGSSL),
];
const NODE_WAYS: &[Way] = &[Way("fetch", NODE_SAYS)];
const JAVA_WAYS: &[Way] = &[Way("URLConnection", JAVA_SAYS), Way("HttpClient", JAVA_SAYS)];
const GO_WAYS: &[Way] = &[Way("http.Get", GO_SAYS)];

/// Programs answer each line `WAY URL` with `ok`, or with what went wrong.
const PYTHON: &str = include_str!("ca_rotation/client.py");
const NODE: &str = include_str!("ca_rotation/client.mjs");
const JAVA: &str = include_str!("ca_rotation/Client.java");
const GO: &str = include_str!("ca_rotation/client.go");

/// A sidecar whose CA `sandgate-ca` made, and may replace.
struct Place {
    origin: Origin,
    sidecar: Sidecar,
    dir: TempDir,
}

impl Place {
    async fn start() -> Self {
        let (origin, dir) = (Origin::builder().start().await, tempfile::tempdir().expect("a temporary directory"));
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (ca, trust, roots, policy) = (path("ca"), path("trust"), path("origin-ca.pem"), path("policy.yaml"));
        ca_tool(&["generate", "--out", &ca]).await;
        std::fs::create_dir(&trust).expect("the trust directory");
        origin.ca().write_root(Path::new(&roots));
        let rule =
            format!("{{id: o, host: '*.origin.test', ports: [{}], private_cidrs: [127.0.0.0/8]}}", origin.port());
        std::fs::write(&policy, format!("version: 1\ndestinations: [{rule}]\n")).expect("the policy is written");
        let resolve = HOSTS.map(|host| format!("{host}.origin.test:{}:127.0.0.1", origin.port()));
        let mut arguments = vec!["--no-env", "--ca-dir", &ca, "--ca-poll", "50ms", "--ca-overlap", OVERLAP];
        arguments.extend(["--trust-dir", &trust, "--upstream-ca", &roots, "--policy", &policy]);
        arguments.extend(resolve.iter().flat_map(|resolve| ["--resolve", resolve]));
        let sidecar = Sidecar::start(Path::new(SIDECAR), &arguments, &[]).await;
        Self { origin, sidecar, dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}.origin.test:{}/zen", self.origin.port())
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("the file is written");
        self.path(name)
    }

    /// A program with the environment that it has in a pod.
    fn command(&self, program: &str) -> Command {
        let mut command = isolated(program, &[]);
        let variables = environment(self.sidecar.proxy(), &self.path("trust"), &[]);
        command.envs(variables.into_iter().map(|(variable, value)| (variable.name, value)));
        command.env("HOME", self.dir.path()).kill_on_drop(true);
        command
    }

    /// Rotates the CA, and returns the fingerprint of the new one when its trust files have it.
    async fn rotate(&self) -> String {
        let said = ca_tool(&["rotate", "--dir", &self.path("ca")]).await;
        let fingerprint = said.lines().find_map(|line| line.trim().strip_prefix("SHA-256")).expect("it says which");
        self.sidecar.wait_for_stderr("\"trusted\":2", DEADLINE).await;
        fingerprint.trim().to_owned()
    }

    /// curl, which starts anew for each request.
    async fn curl(&self, host: &str) {
        let output = self.command("curl").args(["-sS", &self.url(host)]).output().await.expect("curl runs");
        assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

async fn ca_tool(arguments: &[&str]) -> String {
    let output = run_command(program_beside(Path::new(SIDECAR), "sandgate-ca"), arguments, &[], DEADLINE)
        .await
        .expect("sandgate-ca runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A program that runs on, and answers line by line.
struct Running {
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    ways: &'static [Way],
}

impl Running {
    fn start(place: &Place, (command, ways): &(Vec<String>, &'static [Way])) -> Self {
        let mut process = place.command(&command[0]);
        process.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (questions, answers) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Self { _child: child, questions, answers: BufReader::new(answers).lines(), ways }
    }

    /// What becomes of a request to `host` by each way.
    async fn ask(&mut self, place: &Place, host: &str) -> Vec<(&'static Way, String)> {
        let mut outcomes = Vec::new();
        for way in self.ways {
            let question = format!("{} {}\n", way.0, place.url(host));
            self.questions.write_all(question.as_bytes()).await.expect("the program reads");
            let answer = timeout(DEADLINE, self.answers.next_line()).await.expect("an answer in time");
            outcomes.push((way, answer.expect("text").unwrap_or_else(|| panic!("{}: it has ended", way.0))));
        }
        outcomes
    }

    async fn reaches(&mut self, place: &Place, host: &str) {
        for (Way(way, _), outcome) in self.ask(place, host).await {
            assert_eq!(outcome, "ok", "{way}, {host}");
        }
    }

    /// Asserts that each way fails that read the roots once, with the words that it has for that, and no other.
    async fn misses_the_new_ca(&mut self, place: &Place, host: &str) {
        for (Way(way, error), outcome) in self.ask(place, host).await {
            match error {
                Some(error) => assert!(outcome.contains(error), "{way}, {host}: {outcome}"),
                None => assert_eq!(outcome, "ok", "{way}, {host}"),
            }
        }
    }
}

/// Rotates the CA under the programs, starts each once more within the overlap, and sees what becomes of both.
async fn rotate_under(place: &Place, programs: &[(Vec<String>, &'static [Way])]) {
    let mut running: Vec<Running> = programs.iter().map(|program| Running::start(place, program)).collect();
    for program in &mut running {
        program.reaches(place, "before").await;
    }
    let fingerprint = place.rotate().await;
    for program in &mut running {
        program.reaches(place, "during").await;
    }
    place.curl("during").await;
    let taken_over = format!("\"signs\":\"{fingerprint}\"");
    assert!(!place.sidecar.stderr().contains(&taken_over), "all that took longer than the overlap of {OVERLAP}");
    let mut restarted: Vec<Running> = programs.iter().map(|program| Running::start(place, program)).collect();
    for program in &mut restarted {
        program.reaches(place, "during").await;
    }
    place.sidecar.wait_for_stderr(&taken_over, DEADLINE).await;
    for program in &mut running {
        // Leaves that the old CA signed are served until they are due.
        program.reaches(place, "during").await;
        program.misses_the_new_ca(place, "after").await;
        // Nothing makes it look again.
        program.misses_the_new_ca(place, "again").await;
    }
    place.curl("after").await;
    for program in &mut restarted {
        program.reaches(place, "after").await;
    }
}

#[tokio::test]
async fn a_running_program_works_through_the_overlap_and_after_it_as_often_as_it_reads_its_roots() {
    let place = Place::start().await;
    let java = place.file("Client.java", JAVA);
    let classes = place.command("javac").args(["-d", &place.path("."), &java]).status().await;
    assert!(classes.expect("javac runs").success());
    let programs = [
        (vec![python(), place.file("client.py", PYTHON)], PYTHON_WAYS),
        (vec![tool("node/bin/node"), place.file("client.mjs", NODE)], NODE_WAYS),
        (["java", "-XX:TieredStopAtLevel=1", "-cp", &place.path("."), "Client"].map(str::to_owned).to_vec(), JAVA_WAYS),
    ];
    rotate_under(&place, &programs).await;
}

#[tokio::test]
#[ignore = "compiles Go's TLS first, half a minute of processor time: cargo test --test clients -- --ignored go"]
async fn a_go_program_reads_its_roots_once() {
    let place = Place::start().await;
    let (source, program) = (place.file("client.go", GO), place.path("client"));
    // With the caches of whoever runs the test.
    let built = Command::new("go").args(["build", "-o", &program, &source]).status().await;
    assert!(built.expect("go runs").success());
    rotate_under(&place, &[(vec![program], GO_WAYS)]).await;
}
