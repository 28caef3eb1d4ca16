use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::logged::logged;

const GOOD: &str = "sidecar: {uid: 4242}\n";

fn opened(text: &str) -> (TempDir, ConfigFile) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.yaml"), text).unwrap();
    let (file, _) = ConfigFile::open(&dir.path().join("config.yaml")).unwrap();
    (dir, file)
}

#[tokio::test(start_paused = true)]
async fn a_good_change_is_taken_and_a_broken_one_leaves_the_last_good() {
    let (_dir, mut file) = opened("");
    assert!(file.poll().await.is_none());
    fs::write(&file.path, GOOD).unwrap();
    let (taken, log) = logged(file.poll()).await;
    let config = taken.unwrap().unwrap();
    assert_eq!(config.sidecar.uid, 4242);
    assert!(log.contains("another configuration is in force") && log.contains(&config.hash()), "{log}");
    fs::write(&file.path, "sidecar: {uid: 0, imag: x}\n").unwrap();
    let (failed, log) = logged(file.poll()).await;
    assert_eq!(failed, Some(Err(())));
    assert!(log.contains("config.yaml:1: sidecar.uid: ") && log.contains("config.yaml:1: sidecar.imag: "), "{log}");
    // Said once for a content.
    let (again, log) = logged(file.poll()).await;
    assert_eq!((again, log.as_str()), (None, ""));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_vanishes_keeps_the_last_good_and_may_come_back() {
    let (_dir, mut file) = opened(GOOD);
    fs::remove_file(&file.path).unwrap();
    let (failed, log) = logged(file.poll()).await;
    assert_eq!(failed, Some(Err(())));
    assert!(log.contains("No such file") && log.contains("the last good one stays"), "{log}");
    assert_eq!(file.poll().await, None);
    fs::write(&file.path, GOOD).unwrap();
    assert_eq!(file.poll().await.unwrap().unwrap().sidecar.uid, 4242);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_still_being_written_waits_for_the_next_look() {
    let (_dir, mut file) = opened("");
    fs::write(&file.path, "sidecar: {uid: 4").unwrap();
    let path = file.path.clone();
    let (half, ()) = tokio::join!(file.poll(), async { fs::write(&path, GOOD).unwrap() });
    assert_eq!(half, None);
    assert_eq!(file.poll().await.unwrap().unwrap().sidecar.uid, 4242);
}

#[tokio::test(start_paused = true)]
async fn changes_that_need_a_restart_are_named_in_the_log() {
    let (_dir, mut file) = opened("");
    fs::write(&file.path, "server: {maxConnections: 99}\ncertificate: {trustDelay: 5s}\n").unwrap();
    let (taken, log) = logged(file.poll()).await;
    assert!(taken.unwrap().is_ok());
    assert!(log.contains("server.maxConnections, certificate.trustDelay"), "{log}");
    fs::write(&file.path, GOOD).unwrap();
    let (taken, log) = logged(file.poll()).await;
    assert!(taken.unwrap().is_ok() && !log.contains("restart"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn watching_hands_on_what_is_good_and_counts_what_is_not() {
    let (_dir, file) = opened("");
    let path = file.path.clone();
    let (sender, mut configuration) = watch::channel(Arc::new(Config::default()));
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&failures);
    let watching = tokio::spawn(file.watch(POLL, sender, move |look| {
        counted.fetch_add(usize::from(look == Reload::Failed), Ordering::SeqCst);
    }));
    fs::write(&path, "sidecar: {uid: x}\n").unwrap();
    while failures.load(Ordering::SeqCst) == 0 {
        tokio::time::advance(SETTLE).await;
    }
    assert!(!configuration.has_changed().unwrap());
    fs::write(&path, GOOD).unwrap();
    configuration.changed().await.unwrap();
    assert_eq!((configuration.borrow().sidecar.uid, failures.load(Ordering::SeqCst)), (4242, 1));
    drop(configuration);
    watching.await.unwrap();
}

#[test]
fn without_a_first_good_configuration_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let error = || ConfigFile::open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error().starts_with(&format!("{}: No such file", path.display())), "{}", error());
    fs::write(&path, "sidecar:\n  uid: 0\n  imag: x\n").unwrap();
    let expected = format!("{0}:2: sidecar.uid: \"0\" is not a whole number from 1 to 2147483647\n", path.display());
    assert!(error().starts_with(&expected) && error().contains(":3: sidecar.imag: "), "{}", error());
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
}
