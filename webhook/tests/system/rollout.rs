//! A rolling update of the webhook, as a Deployment does it, while pods are created all the time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use sandgate_testkit::client::{Client, ClientTls};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::program::Program;
use crate::stage::{RUNTIME, Space, Stage, config, eventually, is_injected, plain};

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
    for pod in &pods {
        is_injected(pod);
        for program in programs {
            let answer = validate(stage, program, pod);
            assert_eq!(answer["response"]["allowed"], true, "{answer}");
            assert_eq!(answer["response"]["auditAnnotations"]["reason"], "verified", "{answer}");
        }
    }
}

fn validate(stage: &Stage, program: &Program, pod: &Value) -> Value {
    let name = "sandgate-webhook.sandgate-system.svc";
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "any", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "rollout", "name": pod["metadata"]["name"], "operation": "CREATE", "object": pod}});
    let request = http::Request::post(format!("https://{name}/validate/required")).header("host", name);
    let request = request.header("content-type", "application/json");
    let request = request.body(sandgate_testkit::client::bytes_body(review.to_string())).unwrap();
    let roots = stage.serving_roots();
    RUNTIME.block_on(async {
        let tls = ClientTls::new(&roots).alpn(&["http/1.1"]);
        let stream = TcpStream::connect(program.reviews).await.unwrap();
        let mut client = Client::http1(tls.handshake(name, stream).await.unwrap()).await.unwrap();
        client.fetch(request).await.unwrap().json()
    })
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
