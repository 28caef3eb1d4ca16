//! Tests of the CAs' order in time, on a clock of their own, and of where they come from.

mod files;
mod made;
mod overlap;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sandgate_ca::{KeyType, NameConstraints, Profile};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::trust::TrustFiles;

fn ca_of(lifetime: Duration, hosts: Option<&[&str]>) -> Arc<Authority> {
    let constraints = hosts.map(|hosts| NameConstraints::for_hosts(hosts.iter().copied()).unwrap());
    let key_type = KeyType::P256;
    let profile = Profile { common_name: "test".into(), organization: None, lifetime, key_type, constraints };
    Arc::new(Authority::generate(&profile).unwrap())
}

fn ca() -> Arc<Authority> {
    ca_of(Duration::days(365), None)
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn is(found: Option<&Arc<Authority>>, expected: &Arc<Authority>) -> bool {
    found.is_some_and(|found| Arc::ptr_eq(found, expected))
}

fn trusts(authorities: &Authorities, expected: &[&Arc<Authority>]) -> bool {
    let expected: Vec<_> = expected.iter().map(|authority| authority.certificate_der().clone()).collect();
    authorities.trusted() == expected
}

fn hosts(hosts: &[&str]) -> Arc<[String]> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

fn put(dir: &Path, authority: &Authority) {
    fs::write(dir.join("ca.crt"), authority.chain_pem()).unwrap();
    fs::write(dir.join("ca.key"), authority.private_key_pem()).unwrap();
}

fn start(source: Source, trust: Option<&TempDir>, names: &[&str]) -> Result<Keeper, CaError> {
    let trust = trust.map(|dir| TrustFiles::new(dir.path()));
    Keeper::start(source, Duration::DAY, trust, hosts(names), now())
}

/// The certificates of `ca.crt` in a directory of trust files.
fn published(dir: &TempDir) -> Vec<CertificateDer<'static>> {
    let text = fs::read(dir.path().join("ca.crt")).unwrap();
    CertificateDer::pem_slice_iter(&text).map(Result::unwrap).collect()
}

fn signs(keeper: &Keeper) -> CertificateDer<'static> {
    keeper.signing().borrow().current().unwrap().certificate_der().clone()
}

#[tokio::test]
async fn watching_takes_new_files_and_ends_with_its_owner() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), ca(), ca());
    put(dir.path(), &old);
    let keeper = start(Source::Files(CaFiles::in_dir(dir.path())), None, &[]).unwrap();
    let mut signing = keeper.signing();
    let policy = watch::Sender::new(hosts(&[]));
    let task = tokio::spawn(keeper.watch(std::time::Duration::from_millis(5), policy.subscribe()));
    put(dir.path(), &new);
    let deadline = std::time::Duration::from_secs(10);
    let both = signing.wait_for(|signing| signing.authorities().len() == 2);
    assert!(tokio::time::timeout(deadline, both).await.is_ok());
    drop(policy);
    tokio::time::timeout(deadline, task).await.unwrap().unwrap();
}
