//! What is learnt of real clients lets the same commands through when it is enforced, and nothing else.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sandgate_testkit::origin::Origin;
use sandgate_testkit::sidecar::isolated;

use crate::places::Places;
use crate::report::say;

/// The clients, which learn into one file, one after the other.
const PROGRAMS: [&str; 3] = ["pip", "npm", "git"];
const EXPECTED: &str = "Keep it logically awesome.";
const DEADLINE: Duration = Duration::from_secs(120);

/// Learns of each client, and enforces what was learnt on all of them. Prints what is wrong, and returns how much is.
pub(crate) async fn run(places: &Places) -> anyhow::Result<usize> {
    let directory = tempfile::tempdir()?;
    let origin = Origin::builder().port(443).files(&places.files).start().await;
    origin.ca().write_root(&directory.path().join("origin-ca.pem"));
    let mut failed = 0;
    for (name, result) in [
        ("what pip, npm and git are learnt to need", learn(places, directory.path()).await),
        ("is what they need when it is enforced", enforce(places, directory.path()).await),
        ("and allows nothing else", refuse(places, directory.path()).await),
        ("learning again adds nothing", learn_again(places, directory.path()).await),
    ] {
        match result {
            Ok(()) => say(&format!("| learn: {name} | passed")),
            Err(error) => {
                say(&format!("| learn: {name} | FAILED: {error:#}"));
                failed += 1;
            }
        }
    }
    if failed > 0 {
        say(&std::fs::read_to_string(directory.path().join("policy.yaml")).unwrap_or_default());
    }
    Ok(failed)
}

async fn learn(places: &Places, directory: &Path) -> anyhow::Result<()> {
    let mut before = String::new();
    for program in PROGRAMS {
        let output = sidecar(places, directory, "--learn", &script(places, program)).await?;
        ensure_works(program, &output)?;
        let text = std::fs::read_to_string(directory.join("policy.yaml"))?;
        let rules = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.contains("  # "));
        ensure!(rules.count() > 0 && text != before, "nothing was learnt of {program}");
        before = text;
    }
    Ok(())
}

async fn enforce(places: &Places, directory: &Path) -> anyhow::Result<()> {
    for program in PROGRAMS {
        let output = sidecar(places, directory, "--policy", &script(places, program)).await?;
        ensure_works(program, &output)?;
    }
    Ok(())
}

/// The origin answers both, so that only the policy can refuse them.
async fn refuse(places: &Places, directory: &Path) -> anyhow::Result<()> {
    for path in ["/zen", "/npm/sandgate-sample/-/other.tgz"] {
        let command = ["curl", "-sS", &format!("https://origin.test{path}")].map(str::to_owned);
        let output = sidecar(places, directory, "--policy", &command).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains("request_not_allowed"), "{path} was not refused: {text}");
    }
    Ok(())
}

async fn learn_again(places: &Places, directory: &Path) -> anyhow::Result<()> {
    let rules = || -> anyhow::Result<Vec<String>> {
        let text = std::fs::read_to_string(directory.join("policy.yaml"))?;
        let without_comment = |line: &str| line.split("  #").next().unwrap_or_default().to_owned();
        Ok(text.lines().map(without_comment).filter(|line| !line.starts_with('#')).collect())
    };
    let before = rules()?;
    for program in PROGRAMS {
        ensure_works(program, &sidecar(places, directory, "--learn", &script(places, program)).await?)?;
    }
    let after = rules()?;
    ensure!(before == after, "before:\n{}\nafter:\n{}", before.join("\n"), after.join("\n"));
    Ok(())
}

fn script(places: &Places, program: &str) -> [String; 5] {
    let script = places.sources.join(format!("programs/shell/{program}.sh"));
    ["sh", "-e", &script.display().to_string(), "get", "https://origin.test"].map(str::to_owned)
}

fn ensure_works(program: &str, output: &Output) -> anyhow::Result<()> {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(output.status.success() && stdout.contains(EXPECTED), "{program}: {stdout}{stderr}");
    Ok(())
}

/// `sandgate-sidecar run` with the policy to learn or to enforce, in an empty directory that is the client's home.
async fn sidecar(places: &Places, directory: &Path, mode: &str, client: &[String]) -> anyhow::Result<Output> {
    let home = tempfile::tempdir_in(directory)?;
    let mut command = isolated(&places.sidecar, &[]);
    command.arg("run").arg(mode).arg(directory.join("policy.yaml"));
    command.args(["--resolve", "origin.test:443:127.0.0.1"]);
    if mode == "--learn" {
        // What is learnt has the range in it.
        command.args(["--private-cidr", "127.0.0.0/8"]);
    }
    command.arg("--upstream-ca").arg(directory.join("origin-ca.pem")).arg("--").args(client);
    command.env("PATH", &places.path).env("HOME", home.path()).env("TMPDIR", home.path()).current_dir(home.path());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    Ok(output.context("the client still runs after two minutes")??)
}
