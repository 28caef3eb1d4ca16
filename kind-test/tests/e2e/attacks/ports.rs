//! The sidecar's two ports: who reaches them, and a workload that takes them.

use sandgate_kind_test::node::kill_sidecar;
use sandgate_kind_test::objects::{pod, running};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::status_of;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    another_pod_does_not_reach_the_proxy_and_reaches_three_paths_of_the_health_port,
    a_workload_that_takes_both_ports_while_the_sidecar_restarts_gets_nothing_out,
);

fn another_pod_does_not_reach_the_proxy_and_reaches_three_paths_of_the_health_port(stage: &Stage) {
    let space = stage.namespace("required");
    // A proxy that listens on all addresses is used by any pod: here a server stands for it.
    let mut open = pod("open");
    open["spec"]["containers"][0] = running("workload", "exec python3 -m http.server 9090");
    open["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 9090}, "periodSeconds": 1});
    let open = space.start(&open);
    let address = open["status"]["podIP"].as_str().unwrap().to_owned();
    let attacker = stage.namespace("");
    attacker.start(&pod("attacker"));
    let ask = |path: &str| {
        let script =
            format!("curl -sS --max-time 5 --noproxy '*' -o /dev/null -w '%{{http_code}}' http://{address}:{path}");
        attacker.sh("attacker", &script)
    };
    assert_eq!(ask("9090/").accepted().output, "200", "the pod is reached");
    ask("8080/").refused_with(&["curl: (7)"]);
    let through = format!("curl -sS --max-time 5 -x http://{address}:8080 http://{}/", Origins::shared().allowed());
    attacker.sh("attacker", &through).refused_with(&["curl: (7)"]);
    for (path, status) in [("healthz", "200"), ("readyz", "200"), ("metrics", "200"), ("", "404"), ("policy", "404")] {
        assert_eq!(ask(&format!("8081/{path}")).accepted().output, status, "{path}");
    }
    let connect = format!("curl -sS --max-time 5 -p -x http://{address}:8081 http://{}/", Origins::shared().allowed());
    attacker.sh("attacker", &connect).refused_with(&["curl: (56)"]);
}

/// Takes both ports of loopback as soon as they are free, answers everything with 200, and prints when it has them.
const TAKER: &str = r#"
import http.server, socketserver, threading, time
class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"taken\n")
    do_CONNECT = do_GET
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
def take(address):
    while True:
        try:
            server = Server(address, Yes)
        except OSError:
            time.sleep(0.001)
            continue
        print("took", address, flush=True)
        server.serve_forever()

for address in [("127.0.0.1", 8080), ("0.0.0.0", 8081)]:
    threading.Thread(target=take, args=(address,)).start()
"#;

fn a_workload_that_takes_both_ports_while_the_sidecar_restarts_gets_nothing_out(stage: &Stage) {
    let space = stage.namespace("required");
    let mut one = pod("one");
    one["spec"]["containers"][0]["env"] = json!([{"name": "TAKER", "value": TAKER}]);
    let pod = space.start(&one);
    let fingerprint = "openssl x509 -in /etc/proxy-ca/ca.crt -noout -fingerprint";
    let before = space.sh("one", fingerprint).accepted().output;
    let _taking = space.sh("one", "python3 -c \"$TAKER\" >/tmp/taker 2>&1 & echo $! >/tmp/pid").accepted();
    kill_sidecar(stage, &pod);
    eventually("the workload has both ports", || {
        let taken = space.sh("one", "cat /tmp/taker").output;
        if taken.matches("took").count() == 2 { Ok(()) } else { Err(taken) }
    });
    // The sidecar says who is in its way, and starts no more; the workload has cut off itself.
    eventually("the sidecar says that its port is taken", || {
        let status = status_of(&space.pod("one"), "auth-proxy");
        let ended = &status["lastState"]["terminated"];
        let said = ended["message"].as_str().unwrap_or_default().contains("another process listens there");
        if said && ended["exitCode"] != 0 { Ok(()) } else { Err(status.to_string()) }
    });
    let cut_off = space.sh("one", &format!("curl -sS http://{}/taken", Origins::shared().allowed())).accepted();
    assert_eq!(cut_off.output, "taken");
    assert!(!Origins::shared().requests("origin").contains("/taken"));
    // It did not get the key, nor a certificate that others trust; when it lets go, all is as it was.
    let _released = space.sh("one", "kill $(cat /tmp/pid)").accepted();
    eventually("the sidecar is back", || {
        let status: Value = status_of(&space.pod("one"), "auth-proxy");
        if status["ready"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    let ask = format!("{fingerprint}; curl -sS https://{}/zen", Origins::shared().allowed());
    assert_eq!(space.sh("one", &ask).accepted().output, format!("{before}\nKeep it logically awesome."));
}
