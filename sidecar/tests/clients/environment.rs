//! `run` where its own environment is in the way: proxies that are set already, a directory that cannot be read, commands
//! that leave others behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Bench, ZEN};

#[tokio::test]
async fn proxies_that_are_set_already_give_way() {
    let dead = "http://127.0.0.1:9";
    let variables = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let mut variables: Vec<_> = variables.iter().map(|name| (*name, dead)).collect();
    variables.extend([("NO_PROXY", "*"), ("no_proxy", "*"), ("SSL_CERT_FILE", "/nonexistent")]);
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.listed());
    assert_eq!(bench.reached(bench.run_with(&variables, &["curl", "-sS", &url]).await), ZEN);
}

#[tokio::test]
async fn a_proxy_for_everything_is_not_handed_on() {
    let bench = Bench::start().await;
    let variables = [("ALL_PROXY", "http://me:secret@127.0.0.1:9"), ("all_proxy", "http://me:secret@127.0.0.1:9")];
    let script = format!("curl -sS https://{}/zen; printenv ALL_PROXY all_proxy; true", bench.listed());
    let arguments = [("NO_PROXY", "*"), variables[0], variables[1]];
    assert_eq!(bench.reached(bench.run_with(&arguments, &["sh", "-c", &script]).await), ZEN);
}

#[tokio::test]
async fn a_directory_that_is_gone_is_no_obstacle() {
    const GONE: &str = r#"mkdir "$HOME/gone" && cd "$HOME/gone" && rmdir "$HOME/gone" && exec "$@""#;
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.listed());
    let finished = bench.run_inside(&["sh", "-c", GONE, "sh"], &[], &["curl", "-sS", &url]).await;
    assert_eq!(bench.reached(finished), ZEN);
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_is_no_obstacle() {
    // Root may read it all the same: then it is a directory like any other.
    const LOCKED: &str = r#"mkdir "$HOME/locked" && cd "$HOME/locked" && chmod 0 . && exec "$@""#;
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.listed());
    let finished = bench.run_inside(&["sh", "-c", LOCKED, "sh"], &[], &["curl", "-sS", &url]).await;
    assert_eq!(bench.reached(finished), ZEN);
}

#[tokio::test]
async fn a_child_that_outlives_the_command_does_not_hold_up_run() {
    const SCRIPT: &str = r#"sleep 600 >/dev/null 2>&1 & echo $! >&2; curl -sS "$1""#;
    let bench = Bench::start().await;
    let url = format!("https://{}/zen", bench.listed());
    let finished = bench.run(&["sh", "-c", SCRIPT, "sh", &url]).await;
    let child = Pid::from_raw(finished.stderr.trim().parse().unwrap());
    kill(child, Signal::SIGKILL).unwrap();
    assert_eq!(bench.reached(finished), ZEN);
}
