//! A rolling update of the webhook, as a Deployment does it, while pods are created all the time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use sandgate_testkit::client::{Client, ClientTls};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::program::Program;
use crate::stage::{DEADLINE, RUNTIME, Space, Stage, config, eventually, is_injected, plain};

/// What the serving certificate is for.
const NAME: &str = "sandgate-webhook.sandgate-system.svc";
const OLD: &str = "sidecar: {image: 'registry.example/sidecar:1'}\n";
/// Another image and other arguments.
const NEW: &str = "sidecar: {image: 'registry.example/sidecar:2', logLevel: debug, proxyPort: 18080}\n";

/// Pods that somebody creates without a pause.
#[derive(Default)]
struct Builder {
    ended: AtomicBool,
    created: AtomicUsize,
    pods: Mutex<Vec<Value>>,
    refused: Mutex<Vec<String>>,
}

impl Builder {
    /// Until it is told to end.
    fn build(&self, space: &Space<'_>, prefix: &str) {
        while !self.ended.load(Ordering::Relaxed) {
            let number = self.created.fetch_add(1, Ordering::Relaxed);
            let answer = space.pod(&plain(&format!("{prefix}-{number}")));
            if answer.is_accepted() {
                self.pods.lock().unwrap().push(answer.body);
            } else {
                self.refused.lock().unwrap().push(answer.message().to_owned());
            }
        }
    }

    /// Waits for more of them.
    fn more(&self, count: usize) {
        let start = self.created.load(Ordering::Relaxed);
        eventually("more pods are created", || {
            let now = self.created.load(Ordering::Relaxed);
            if now >= start + count { Ok(()) } else { Err(format!("{now} of {start} + {count}")) }
        });
    }

    fn images(&self) -> Vec<String> {
        let pods = self.pods.lock().unwrap();
        pods.iter().map(|pod| pod["spec"]["initContainers"][0]["image"].as_str().unwrap().to_owned()).collect()
    }
}

/// Ends whoever builds, also when the test fails.
struct End<'a>(&'a Builder);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_replicas_that_are_replaced_by_another_image_and_configuration_lose_no_admission() {
    let mut stage = Stage::alone();
    stage.end_all();
    for name in ["old-a", "old-b"] {
        stage.serve(name, &config(OLD));
    }
    stage.namespace("rollout", "required");
    let builder = Builder::default();
    let mut old: Vec<Program> = stage.programs.drain(..).collect();
    let stage = &mut *stage;
    let mut new = Vec::new();
    {
        let shared = &*stage;
        let space = Space { stage: shared, name: "rollout".to_owned() };
        thread::scope(|scope| {
            let end = End(&builder);
            for prefix in ["one", "two"] {
                scope.spawn({
                    let (builder, space) = (&builder, &space);
                    move || builder.build(space, prefix)
                });
            }
            builder.more(10);
            for name in ["new-a", "new-b"] {
                let program = shared.program(name, &config(NEW));
                builder.more(10);
                is_genuine_to(shared, &builder, [&old[0], &program]);
                drain(shared, &builder, old.remove(0));
                new.push(program);
            }
            builder.more(10);
            drop(end);
        });
    }
    stage.programs = new;
    assert_eq!(*builder.refused.lock().unwrap(), Vec::<String>::new());
    let images = builder.images();
    let count = |tag: &str| images.iter().filter(|image| image.ends_with(tag)).count();
    assert!(count(":1") >= 10 && count(":2") >= 10, "{} and {}", count(":1"), count(":2"));
    assert!(images.last().unwrap().ends_with(":2"));
}

/// SIGTERM, as a kubelet sends it. It ends by itself, with everything answered.
fn drain(stage: &Stage, builder: &Builder, mut program: Program) {
    program.signal(Signal::SIGTERM);
    eventually("it is not ready", || if stage.service.is_ready(&program) { Err("it is".to_owned()) } else { Ok(()) });
    builder.more(5);
    assert_eq!(program.ended(), 0, "{}", program.log());
    assert!(!program.log().contains("cut off"), "{}", program.log());
    stage.service.remove(&program);
}

/// The last pods, whoever made them, are genuine to both: the API server asks one for the patch and the other for the
/// verdict.
fn is_genuine_to(stage: &Stage, builder: &Builder, programs: [&Program; 2]) {
    let pods: Vec<Value> = builder.pods.lock().unwrap().iter().rev().take(10).cloned().collect();
    let mut lines = programs.map(|program| Line::open(stage, program));
    for pod in &pods {
        is_injected(pod);
        lines.iter_mut().for_each(|line| line.finds_genuine("rollout", pod));
    }
}

/// A connection to one process, past the Service.
struct Line(Client);

impl Line {
    fn open(stage: &Stage, program: &Program) -> Self {
        let roots = stage.serving_roots();
        let connect = async {
            let stream = TcpStream::connect(program.reviews).await.unwrap();
            let tls = ClientTls::new(&roots).alpn(&["http/1.1"]);
            Client::http1(tls.handshake(NAME, stream).await.unwrap()).await.unwrap()
        };
        Self(RUNTIME.block_on(connect))
    }

    /// The response to a pod of a required namespace.
    fn ask(&mut self, path: &str, namespace: &str, pod: &Value) -> Value {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "any", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "name": "any", "operation": "CREATE", "object": pod}});
        let request = http::Request::post(format!("https://{NAME}{path}")).header("host", NAME);
        let request = request.header("content-type", "application/json");
        let request = request.body(sandgate_testkit::client::bytes_body(review.to_string())).unwrap();
        RUNTIME.block_on(self.0.fetch(request)).unwrap().json()["response"].take()
    }

    /// A pod as this process makes it.
    fn mutated(&mut self, namespace: &str, pod: &Value) -> Value {
        let response = self.ask("/mutate/required", namespace, pod);
        let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    #[track_caller]
    fn finds_genuine(&mut self, namespace: &str, pod: &Value) {
        let response = self.ask("/validate/required", namespace, pod);
        assert_eq!(response["auditAnnotations"]["reason"], "verified", "{response}");
    }
}

/// Another default policy, and resources that were out of bounds before.
const OTHER: &str = "policy: {configMap: other-policy}\nsidecar:\n  image: registry.example/sidecar:2\n  \
                     resources: {limits: {cpu: '16', memory: 8Gi}}\n  \
                     resourceBounds: {max: {limits: {cpu: '16', memory: 8Gi}}}\n";

#[test]
fn two_replicas_whose_default_policies_and_bounds_differ_find_each_others_pods_genuine() {
    let mut stage = Stage::alone();
    stage.end_all();
    stage.serve("plain", &config(OLD));
    stage.serve("other", &config(OTHER));
    stage.namespace("differ", "required");
    let mut lines = [0, 1].map(|number| Line::open(&stage, &stage.programs[number]));
    for (maker, judge) in [(0, 1), (1, 0)] {
        let pod = lines[maker].mutated("differ", &plain("pod"));
        lines[judge].finds_genuine("differ", &pod);
    }
}

#[test]
fn what_a_replica_makes_by_a_new_configuration_is_genuine_to_the_other_from_the_first_pod_on() {
    let mut stage = Stage::alone();
    stage.end_all();
    for name in ["first", "other"] {
        stage.serve(name, &config(OLD));
    }
    stage.namespace("first-pod", "required");
    let [mut first, mut other] = [0, 1].map(|number| Line::open(&stage, &stage.programs[number]));
    for round in 0..3 {
        let image = format!("registry.example/sidecar:round-{round}");
        stage.programs[0].configure(&config(&format!("sidecar: {{image: '{image}'}}\n")));
        let deadline = Instant::now() + DEADLINE;
        let pod = loop {
            let pod = first.mutated("first-pod", &plain("pod"));
            if pod["spec"]["initContainers"][0]["image"] == image.as_str() {
                break pod;
            }
            assert!(Instant::now() < deadline, "it is not followed: {}", stage.programs[0].log());
        };
        other.finds_genuine("first-pod", &pod);
    }
}

#[test]
fn a_changed_configuration_file_is_followed_and_a_broken_one_changes_nothing() {
    let mut stage = Stage::alone();
    stage.end_all();
    stage.serve("reload", &config(OLD));
    let space = stage.namespace("reload", "required");
    let image = |space: &Space<'_>| {
        let answer = space.create("pods?dryRun=All", &plain("pod"));
        answer.accepted()["spec"]["initContainers"][0]["image"].as_str().unwrap().to_owned()
    };
    assert!(image(&space).ends_with(":1"));
    let program = &stage.programs[0];
    program.configure(&config("sidecar: {image: 'registry.example/sidecar:2', colour: red}\n"));
    eventually("the mistake is logged", || if program.log().contains("colour") { Ok(()) } else { Err(program.log()) });
    assert!(image(&space).ends_with(":1"));
    program.configure(&config(NEW));
    eventually("it is followed", || match image(&space) {
        image if image.ends_with(":2") => Ok(()),
        image => Err(image),
    });
}
