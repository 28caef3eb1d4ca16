//! A certificate from files that somebody else keeps, cert-manager say: read again when their content changes. Writes
//! nothing, anywhere.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::bundles::Bundles;
use super::{Keeper, serving};
use crate::cluster::observe::why;

/// How often the files are read. A kubelet takes up to a minute to bring a change, so this adds little.
const POLL: Duration = Duration::from_secs(1);
/// How often the caBundles are looked at after the first match.
const LOOK: u32 = 30;

/// Reads the pair for ever.
pub(super) async fn run(mut keeper: Keeper, directory: &Path) {
    let bundles = Bundles::new(&keeper.client, &keeper.config, &keeper.vitals);
    let mut last = None;
    for round in (0..LOOK).cycle() {
        let read = read(directory);
        let changed = last.as_ref() != Some(&read);
        if changed {
            load(&mut keeper, directory, &read);
            last = Some(read);
        }
        if changed || round == 0 || !keeper.readiness.verified {
            look(&mut keeper, &bundles).await;
        }
        sleep(POLL).await;
    }
}

type Pair = Result<[String; 2], String>;

fn read(directory: &Path) -> Pair {
    let mut pair = [String::new(), String::new()];
    for (text, name) in pair.iter_mut().zip(["tls.crt", "tls.key"]) {
        let path = directory.join(name);
        *text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(pair)
}

/// Serves what was read, if it can be; else what was served before stays.
fn load(keeper: &mut Keeper, directory: &Path, read: &Pair) {
    let pair = read.as_ref().map_err(Clone::clone).and_then(|[certificates, key]| {
        serving::read_pair(certificates, key).map_err(|error| format!("{}: {error}", directory.display()))
    });
    match pair {
        Ok(pair) => {
            if let Ok((_, certificate)) = X509Certificate::from_der(&pair.cert[0]) {
                keeper.expires("serving", certificate.validity().not_after.to_datetime());
            }
            keeper.resolver.serve(pair);
            tracing::info!(directory = %directory.display(), "serving certificate loaded");
        }
        Err(why) => {
            let kept = keeper.resolver.current().is_some();
            tracing::error!(why, kept, "the certificate's files can't be used; what was served before stays");
            if !kept {
                keeper.readiness.blind(why);
            }
        }
    }
}

async fn look(keeper: &mut Keeper, bundles: &Bundles) {
    if keeper.resolver.current().is_none() {
        return;
    }
    match bundles.read().await {
        Ok(configurations) => {
            let result = keeper.verify(&configurations);
            keeper.readiness.seen(result);
        }
        // Without the right to look, a pair that belongs together has to do.
        Err(kube::Error::Api(status)) if status.is_forbidden() => keeper.readiness.seen(Ok(())),
        Err(error) => keeper.readiness.blind(format!("the webhook configurations can't be read: {}", why(&error))),
    }
}
