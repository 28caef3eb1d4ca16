//! A pod that keeps connections to the webhook open and says nothing, or half of a handshake.

use sandgate_kind_test::objects::{pod_of, running};
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::stream::Stream;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use serde_json::json;

pub(crate) const TESTS: &[Test] = tests!(Exclusive:
    two_thousand_idle_and_half_open_connections_of_one_pod_stop_no_review,
);

/// Opens 2,000 connections, half of them with the beginning of a ClientHello, opens what is closed anew, and says when all
/// were open.
const FLOOD: &str = r#"
import socket, time
to = ("sandgate-webhook.sandgate-system.svc.cluster.local", 443)
to = (socket.gethostbyname(to[0]), to[1])
def connect(number):
    one = socket.create_connection(to, 5)
    if number % 2:
        one.sendall(bytes([22, 3, 1, 2, 0, 1]))
    one.setblocking(False)
    return one
def is_closed(one):
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
held = [connect(number) for number in range(2000)]
print("all are open", flush=True)
while True:
    for number, one in enumerate(held):
        if is_closed(one):
            one.close()
            held[number] = connect(number)
    time.sleep(0.1)
"#;

fn two_thousand_idle_and_half_open_connections_of_one_pod_stop_no_review(stage: &Stage) {
    let home = stage.namespace("");
    let mut container = running("workload", "ulimit -n 4096 && exec python3 -c \"$FLOOD\"");
    container["env"] = json!([{"name": "FLOOD", "value": FLOOD}]);
    home.start(&pod_of("flood", json!({"containers": [container]})));
    eventually("all connections are open", || {
        let log = home.logs("flood", "workload");
        if log.contains("all are open") { Ok(()) } else { Err(log) }
    });
    let space = stage.namespace("required");
    let stream = Stream::start(&[&space], 10);
    stream.more(100);
    let (admitted, refused, _) = stream.end();
    assert_eq!(refused, Vec::<String>::new());
    assert!(admitted.len() >= 100, "{}", admitted.len());
    assert_eq!(home.pod("flood")["status"]["phase"], "Running", "{}", home.logs("flood", "workload"));
}
