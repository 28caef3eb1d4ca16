//! git over smart HTTP.

use crate::harness::{Bench, REASON, assert_shows};

#[tokio::test]
async fn git_clones_and_pushes() {
    let bench = Bench::start().await;
    let url = format!("https://{}/git/repository.git", bench.listed());
    let script = "git clone --quiet \"$1\" clone && cd clone && git log --format=%s \
         && git -c user.name=a -c user.email=a@a.test commit --quiet --allow-empty --message third \
         && git push --quiet origin HEAD:main && git fetch --quiet && git log -1 --format=%s origin/main";
    let script = format!("cd \"$HOME\" && {script}");
    let printed = bench.reached(bench.run(&["sh", "-c", &script, "sh", &url]).await);
    assert_eq!(printed, "second\nfirst\nthird\n");
}

#[tokio::test]
async fn git_is_refused_and_shows_the_status_and_in_its_trace_the_reason() {
    let bench = Bench::start().await;
    let url = format!("https://{}/git/repository.git", bench.other());
    let clone = bench.dir.path().join("clone").display().to_string();
    let finished = bench.run_with(&[("GIT_CURL_VERBOSE", "1")], &["git", "clone", &url, &clone]).await;
    assert_eq!(finished.code, 128);
    assert_shows(&bench.refused(finished), &["fatal: unable to access", "403", REASON]);
}
