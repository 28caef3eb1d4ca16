//! The version of Kubernetes: from 1.32 on every kubelet that a control plane may have knows native sidecars.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::Client;
use thiserror::Error;
use tokio::time::sleep;

use super::call;
use super::observe::why;
use crate::health::{Condition, Health};

/// The oldest minor version of Kubernetes 1 that will do.
const OLDEST: u32 = 32;
/// The pause before asking again: an API server that does not answer, and one that may be upgraded.
const PAUSE: Duration = Duration::from_secs(1);
const UPGRADE_PAUSE: Duration = Duration::from_secs(60);

/// Why a cluster won't do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    /// It is too old.
    #[error(
        "kubernetes {0} is too old: sandgate needs 1.{OLDEST} or later, where every kubelet runs init containers with \
         restartPolicy Always as sidecars; upgrade the cluster"
    )]
    TooOld(String),
    /// It says no version.
    #[error("the API server says that its version is {0:?}, which is none")]
    Unreadable(String),
}

/// Asks until the version will do, and says so.
pub(super) async fn check(client: Client, health: Arc<Health>) {
    loop {
        let (reason, pause) = match call(client.apiserver_version()).await {
            Ok(info) => match supported(&info) {
                Ok(()) => {
                    tracing::info!(version = info.git_version, "the version of Kubernetes will do");
                    return health.set(Condition::KubernetesVersion, Ok(()));
                }
                Err(error) => (error.to_string(), UPGRADE_PAUSE),
            },
            Err(error) => (format!("the API server did not say its version: {}", why(&error)), PAUSE),
        };
        tracing::error!(reason, "not ready");
        health.set(Condition::KubernetesVersion, Err(reason));
        sleep(pause).await;
    }
}

/// Whether a version will do.
///
/// # Errors
/// [`VersionError`].
pub fn supported(info: &Info) -> Result<(), VersionError> {
    let shown = || format!("{}.{}", info.major, info.minor);
    // Some providers write `32+`.
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().map_err(|_| VersionError::Unreadable(shown()));
    match (number(&info.major)?, number(&info.minor)?) {
        (2.., _) | (1, OLDEST..) => Ok(()),
        _ => Err(VersionError::TooOld(shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_1_32_on_will_do() {
        let supported = |major: &str, minor: &str| {
            supported(&Info { major: major.to_owned(), minor: minor.to_owned(), ..Info::default() })
        };
        for (major, minor) in [("1", "32"), ("1", "32+"), ("1", "36"), ("1", "100"), ("2", "0")] {
            assert_eq!(supported(major, minor), Ok(()), "{major}.{minor}");
        }
        for (major, minor) in [("1", "31"), ("1", "9"), ("1", "31+"), ("0", "99")] {
            assert!(matches!(supported(major, minor), Err(VersionError::TooOld(_))), "{major}.{minor}");
        }
        for (major, minor) in [("", ""), ("1", ""), ("one", "32"), ("1", "-32")] {
            assert!(matches!(supported(major, minor), Err(VersionError::Unreadable(_))), "{major}.{minor}");
        }
        assert!(supported("1", "31").unwrap_err().to_string().contains("1.32 or later"));
    }
}
