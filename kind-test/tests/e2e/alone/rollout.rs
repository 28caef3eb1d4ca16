//! A rolling update of the webhook to another image, with another sidecar, table of variables and configuration, while pods
//! are created.

use std::time::Duration;

use sandgate_kind_test::objects::pod;
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::sandgate::{configuration, configure, disturbed, system, wait_until_ready};
use sandgate_kind_test::space::{container_of, is_injected};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::stream::Stream;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::throughout;
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests!(Exclusive:
    a_rolling_update_under_twenty_creations_a_second_loses_none_and_all_are_genuine,
);

/// The tags of the next version, which kind-test/run loads: the same programs but for one name in the webhook's table of
/// variables.
const NEXT: &str = "next";
/// A variable of the table, and what it is called in the next version's.
const RENAMED: [&str; 2] = ["HTTPLIB2_CA_CERTS", "HTTPLIB9_CA_CERTS"];
/// What the next version's configuration has besides: another port of the proxy, and more that is reached directly.
const CHANGES: &str = "environment: {noProxy: [.next.example.com]}\n";

fn a_rolling_update_under_twenty_creations_a_second_loses_none_and_all_are_genuine(stage: &Stage) {
    let spaces = ["enabled", "required"].map(|mode| stage.namespace(mode));
    let before = configuration();
    let mut outcome = None;
    disturbed(|| {
        let stream = Stream::start(&[&spaces[0], &spaces[1]], 20);
        stream.more(40);
        let next = before.replace("sandgate/sidecar:dev", &format!("sandgate/sidecar:{NEXT}"));
        configure(&format!("{}{CHANGES}", next.replace("sidecar:\n", "sidecar:\n  proxyPort: 18080\n")));
        let _rolling =
            system(&format!("set image deployment/sandgate-webhook webhook=sandgate/webhook:{NEXT}")).accepted();
        wait_until_ready();
        throughout(Duration::from_secs(30), "pods get in after the rollout", || Ok(()));
        outcome = Some(stream.end());
        // The next version's pods run.
        let pod = spaces[1].start(&pod("after"));
        assert_eq!(container_of(&pod, "auth-proxy")["image"], format!("sandgate/sidecar:{NEXT}"));
        let ask = format!("curl -sS https://{}/zen", Origins::shared().allowed());
        assert_eq!(spaces[1].sh("after", &ask).accepted().output, "Keep it logically awesome.");
        configure(&before);
    });
    let (admitted, refused, rate) = outcome.unwrap();
    assert_eq!(refused, Vec::<String>::new());
    assert!(rate > 18.0, "{rate} a second");
    let next = admitted.iter().filter(|pod| is_genuine(pod)).count();
    assert!(next > 500 && admitted.len() - next > 40, "{next} of {} are of the next version", admitted.len());
}

/// Whether it is of the next version; it has to be of one or the other, in all its parts.
#[track_caller]
fn is_genuine(pod: &Value) -> bool {
    assert!(is_injected(pod), "{pod}");
    let sidecar = container_of(pod, "auth-proxy");
    let next = sidecar["image"] == format!("sandgate/sidecar:{NEXT}");
    let port = if next { "18080" } else { "8080" };
    let arguments = sidecar["args"].to_string();
    assert!(arguments.contains(&format!("--listen=127.0.0.1:{port}")), "{arguments}");
    let environment = container_of(pod, "workload")["env"].to_string();
    assert!(environment.contains(&format!("http://127.0.0.1:{port}")), "{environment}");
    assert_eq!(environment.contains(".next.example.com"), next, "{environment}");
    let [old, new] = RENAMED.map(|name| environment.contains(name));
    assert_eq!([old, new], [!next, next], "{environment}");
    next
}
