//! The webhook's certificate changes while pods are created all the time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandgate_kind_test::api;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::sandgate::{self, configured, disturbed, replicas, system, wait_until_ready};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::stream::Stream;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::{eventually, within};

pub(crate) const TESTS: &[Test] = tests!(Exclusive:
    the_ca_rotates_under_a_stream_of_pod_creations_and_none_is_lost,
    a_ca_secret_that_is_deleted_is_written_again_and_no_creation_is_lost,
);

/// Where the CA is.
const SECRET: &str = "/api/v1/namespaces/sandgate-system/secrets/sandgate-webhook-ca";

/// The certificates of all bundles, where all are the same.
fn certificates() -> Result<Vec<String>, String> {
    let bundles = sandgate::ca_bundles()?;
    if bundles.iter().any(|bundle| *bundle != bundles[0]) {
        return Err("bundles differ".to_owned());
    }
    let text = String::from_utf8(STANDARD.decode(&bundles[0]).unwrap()).unwrap();
    Ok(text
        .split_inclusive("-----END CERTIFICATE-----")
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect())
}

fn the_ca_rotates_under_a_stream_of_pod_creations_and_none_is_lost(stage: &Stage) {
    let spaces = ["enabled", "required"].map(|mode| stage.namespace(mode));
    with_a_ca_of_minutes(|| {
        let first = certificates().unwrap();
        let stream = Stream::start(&[&spaces[0], &spaces[1]], 10);
        let both = within(Duration::from_secs(180), "the next CA is in every bundle beside the first", || {
            let now = certificates()?;
            let beside = now.len() > 1 && now.iter().any(|one| first.contains(one));
            if beside { Ok(now) } else { Err(format!("{} in it", now.len())) }
        });
        stream.more(20);
        within(Duration::from_secs(180), "the first CA has left every bundle", || {
            let now = certificates()?;
            let left = now.iter().any(|one| first.contains(one));
            if !left && now.iter().any(|one| both.contains(one)) { Ok(()) } else { Err(format!("{} in it", now.len())) }
        });
        stream.more(20);
        let (admitted, refused, _) = stream.end();
        assert_eq!(refused, Vec::<String>::new());
        assert!(admitted.len() > 60, "{}", admitted.len());
    });
}

/// Runs with a CA of three minutes that is replaced after one, and serving certificates that are renewed meanwhile.
fn with_a_ca_of_minutes(body: impl FnOnce()) {
    let short = "certificate: {caLifetime: 3m, rotateBefore: 2m, servingLifetime: 1m, trustDelay: 10s}\n";
    configured(short, || {
        disturbed(|| {
            // The one that replicas know, they would write again.
            let _stopped = system("scale deployment/sandgate-webhook --replicas=0").accepted();
            eventually("no replica is left", || {
                let left = replicas().len();
                if left == 0 { Ok(()) } else { Err(format!("{left} are")) }
            });
            api::delete(SECRET).unwrap();
            let _started = system("scale deployment/sandgate-webhook --replicas=2").accepted();
            wait_until_ready();
            body();
        });
    });
}

fn a_ca_secret_that_is_deleted_is_written_again_and_no_creation_is_lost(stage: &Stage) {
    let space = stage.namespace("required");
    let before = api::get(SECRET).unwrap();
    let stream = Stream::start(&[&space], 10);
    stream.more(10);
    api::delete(SECRET).unwrap();
    eventually("the Secret is there again", || {
        let now = api::get(SECRET).map_err(|refusal| refusal.message)?;
        assert_ne!(now["metadata"]["uid"], before["metadata"]["uid"]);
        if now["data"] == before["data"] { Ok(()) } else { Err("another CA".to_owned()) }
    });
    stream.more(20);
    let (_, refused, _) = stream.end();
    assert_eq!(refused, Vec::<String>::new());
}
