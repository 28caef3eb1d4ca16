//! A small git repository over smart HTTP, served by `git http-backend`. It lives in a directory that goes with it.

use std::io;
use std::path::Path;
use std::process::Stdio;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::Shared;
use super::exchange::{Exchange, Length};
use super::head::{bad, parse_field};

/// How much of the backend's output is read at once, in bytes.
const READ_SIZE: usize = 64 << 10;

/// A bare repository `repository.git` with two commits on `main`, open for push.
pub(super) struct Repository(TempDir);

impl Repository {
    async fn create() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        git(root, &["init", "--quiet", "--bare", "--initial-branch=main", "repository.git"]).await?;
        git(root, &["--git-dir=repository.git", "config", "http.receivepack", "true"]).await?;
        git(root, &["clone", "--quiet", "repository.git", "work"]).await?;
        let work = root.join("work");
        for (message, text) in [("first", "first\n"), ("second", "Keep it logically awesome.\n")] {
            std::fs::write(work.join("README"), text)?;
            git(&work, &["add", "README"]).await?;
            git(&work, &["commit", "--quiet", "--message", message]).await?;
        }
        git(&work, &["push", "--quiet", "origin", "HEAD:main"]).await?;
        Ok(Self(directory))
    }
}

/// A git command that no configuration of the machine's user can change.
fn isolated(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).kill_on_drop(true);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", directory);
    for (role, value) in [("NAME", "Sandgate Test"), ("EMAIL", "test@origin.test")] {
        command.env(format!("GIT_AUTHOR_{role}"), value).env(format!("GIT_COMMITTER_{role}"), value);
    }
    command
}

async fn git(directory: &Path, arguments: &[&str]) -> io::Result<()> {
    let output = isolated(directory).args(arguments).output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// `/git/repository.git/…`, for `git clone` and `git push`.
pub(super) async fn answer(exchange: &mut Exchange<'_>, origin: &Shared, rest: &str) -> io::Result<()> {
    let repository = origin.git.get_or_try_init(Repository::create).await?;
    let mut child = backend(exchange, repository.0.path(), rest).spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| bad("the backend has no input"))?;
    while let Some(piece) = exchange.read().await? {
        input.write_all(&piece).await?;
    }
    drop(input);
    relay(exchange, &mut child).await?;
    child.wait().await?;
    exchange.finish(&[]).await
}

fn backend(exchange: &Exchange<'_>, root: &Path, rest: &str) -> Command {
    let head = &exchange.head;
    let mut command = isolated(root);
    command.arg("http-backend").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", format!("/{rest}"));
    command.env("REQUEST_METHOD", &head.method).env("QUERY_STRING", head.query()).env("REMOTE_ADDR", "127.0.0.1");
    let fields = [
        ("content-type", "CONTENT_TYPE"),
        ("content-length", "CONTENT_LENGTH"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ];
    for (field, variable) in fields {
        if let Some(value) = head.header(field) {
            command.env(variable, value);
        }
    }
    command
}

/// Turns the backend's CGI response (RFC 3875 6) into the exchange's.
async fn relay(exchange: &mut Exchange<'_>, child: &mut Child) -> io::Result<()> {
    let mut output = child.stdout.take().ok_or_else(|| bad("the backend has no output"))?;
    let mut buffer = BytesMut::new();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if output.read_buf(&mut buffer).await? == 0 {
            return Err(bad("git http-backend answered without a head"));
        }
    };
    let head = String::from_utf8_lossy(&buffer.split_to(end + 4)).into_owned();
    let mut fields =
        head.split("\r\n").filter(|line| !line.is_empty()).map(parse_field).collect::<io::Result<Vec<_>>>()?;
    let status = fields.iter().position(|(name, _)| name.eq_ignore_ascii_case("status")).map(|at| fields.remove(at).1);
    let status = status.and_then(|text| text.get(..3)?.parse().ok()).unwrap_or(200);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    exchange.respond(status, &fields, Length::Unknown).await?;
    loop {
        exchange.write(buffer.split().freeze()).await?;
        buffer.reserve(READ_SIZE);
        if output.read_buf(&mut buffer).await? == 0 {
            return exchange.write(Bytes::new()).await;
        }
    }
}
