//! The offline commands, as the program that people run: files in, files and texts out.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandgate_testkit::api_server::kubectl;
use sandgate_webhook::documents;
use sandgate_webhook::workload::Workload;
use serde_json::{Value, json};

/// What a run left behind.
struct Run {
    code: i32,
    out: String,
    notes: String,
}

impl Run {
    /// The objects that were printed.
    fn objects(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{}", self.notes);
        objects(&self.out)
    }
}

fn objects(text: &str) -> Vec<Value> {
    documents::read(text.as_bytes()).unwrap().into_iter().map(|document| document.value).collect()
}

/// Runs the program in the directory of the test files, with `input` as its standard input.
fn run_with(input: &str, arguments: &[&str]) -> Run {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sandgate-webhook"))
        .args(arguments)
        .current_dir(files())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads nothing may be gone.
    let _ = program.stdin.take().unwrap().write_all(input.as_bytes());
    let output = program.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), out: text(output.stdout), notes: text(output.stderr) }
}

fn run(arguments: &[&str]) -> Run {
    run_with("", arguments)
}

/// `inject` of a text.
fn inject(text: &str, flags: &[&str]) -> Run {
    run_with(text, &[&["inject", "-f", "-"], flags].concat())
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/offline")
}

fn example() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/manager-pod.yaml")).unwrap()
}

fn pod(name: &str, extra: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {extra}\n  containers: [{{name: a, image: b}}]\n"
    )
}

#[test]
fn every_kind_gets_the_sidecar_in_its_pod_and_nothing_else() {
    let before = objects(&std::fs::read_to_string(files().join("kinds.yaml")).unwrap());
    let after = run(&["inject", "-f", "kinds.yaml"]).objects();
    assert_eq!((before.len(), after.len()), (9, 9));
    for (before, mut after) in before.into_iter().zip(after) {
        let workload = Workload::of(&before).unwrap();
        let pod = after.pointer_mut(workload.pointer).unwrap();
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "auth-proxy", "{}", workload.kind);
        assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
        assert!(pod["spec"]["containers"][0]["env"].as_array().unwrap().len() > 20);
        *pod = before.pointer(workload.pointer).unwrap().clone();
        assert_eq!(after.to_string(), before.to_string(), "nothing outside of the pod, keys in their order");
    }
}

#[test]
fn lists_and_several_files_are_read_and_everything_else_passes_unchanged() {
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}},
    ]});
    let pods = json!({"apiVersion": "v1", "kind": "PodList", "items": [
        {"metadata": {"name": "q"}, "spec": {"containers": [{"name": "a"}]}},
    ]});
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: \"yes\", b: \"012\", c: |\n  x\n }\n";
    let map = map.replace("c: |\n  x\n }", "c: \"x\\ny\\n\"}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map.yaml");
    std::fs::write(&path, &map).unwrap();
    let run = run_with(&format!("{list}\n{pods}\n"), &["inject", "-f", path.to_str().unwrap(), "-f", "-"]);
    let after = run.objects();
    assert_eq!(after[0], objects(&map)[0]);
    assert_eq!(after[1]["items"][0], list["items"][0]);
    assert_eq!(after[1]["items"][1]["spec"]["initContainers"][0]["name"], "auth-proxy");
    assert_eq!(after[2]["items"][0]["spec"]["initContainers"][0]["name"], "auth-proxy");
}

#[test]
fn what_is_printed_goes_in_again_and_comes_out_the_same() {
    for mode in ["enabled", "required"] {
        let once = inject(&example(), &["--namespace-label", mode]);
        let twice = inject(&once.out, &["--namespace-label", mode]);
        assert_eq!(twice.code, 0, "{}", twice.notes);
        assert_eq!(once.out, twice.out);
        assert_eq!(inject(&once.out, &["--namespace-label", mode, "--diff"]).out, "");
    }
}

#[test]
fn a_diff_adds_the_sidecar_and_takes_nothing_away() {
    let run = inject(&example(), &["--diff"]);
    assert_eq!(run.code, 0, "{}", run.notes);
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines[..2], ["--- stdin", "+++ stdin (injected)"]);
    assert!(lines.contains(&"+  - name: auth-proxy") && lines.contains(&"   runtimeClassName: kata-qemu"));
    assert_eq!(lines.iter().filter(|line| line.starts_with('-')).count(), 1, "{}", run.out);
    assert_eq!(inject("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", &["--diff"]).out, "");
}

#[test]
fn a_refused_pod_leaves_nothing_on_stdout_and_says_where_it_is_and_why() {
    let text = format!("{}---\n{}", pod("good", ""), pod("bad", "hostNetwork: true"));
    let run = inject(&text, &["--namespace-label", "required", "--namespace", "sandboxes"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    let expected = "stdin:8: Pod sandboxes/bad: refused (impossible): the pod uses the node's network (hostNetwork: \
                    true), so that it can't have the sidecar that namespace \"sandboxes\" requires\n";
    assert!(run.notes.contains(expected), "{}", run.notes);
    assert!(run.notes.ends_with("nothing is printed: 1 pod would be refused\n"), "{}", run.notes);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "namespace": "n"}, "spec": {"containers": {}}}]});
    let run = inject(&list.to_string(), &[]);
    assert_eq!(run.code, 1);
    assert!(run.notes.starts_with("stdin:1: items/0: Pod n/b: refused (malformed): "), "{}", run.notes);
}

#[test]
fn pods_that_stay_as_they_are_are_named_with_the_reason() {
    let text = pod("calm", "hostNetwork: true");
    let run = inject(&text, &[]);
    assert_eq!(run.objects(), objects(&text));
    assert!(run.notes.contains("stdin:1: Pod default/calm: left as it is (host_network): "), "{}", run.notes);
    let system = run_with(&pod("calm", ""), &["inject", "-f", "-", "--namespace", "kube-system"]);
    assert_eq!(system.objects(), objects(&pod("calm", "")));
    assert!(system.notes.contains("never called for pods of kube-system"), "{}", system.notes);
    let none = inject(&pod("calm", ""), &["--namespace-label", "none"]);
    assert!(none.notes.contains("(not_asked)"), "{}", none.notes);
}

#[test]
fn what_an_author_wrote_cannot_steer_the_terminal() {
    let text = pod("\"a\\e[2J\\nb\"", "hostNetwork: true");
    let (inject, explain) = (inject(&text, &[]), run_with(&text, &["explain", "-f", "-"]));
    assert!(inject.notes.contains("Pod default/a") && !inject.notes.contains('\u{1b}'), "{:?}", inject.notes);
    assert!(explain.out.contains("Pod default/a") && !explain.out.contains('\u{1b}'), "{:?}", explain.out);
    assert_eq!(inject.objects()[0]["metadata"]["name"], "a\u{1b}[2J\nb");
}

#[test]
fn the_namespace_is_what_the_flags_say() {
    let flags = ["--namespace-annotation", "sandgate.dev/policy=strict", "--namespace-label", "required"];
    let after = inject(&pod("p", ""), &flags).objects().remove(0);
    let volumes = after["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["configMap"]["name"] == "strict"), "{volumes:?}");
    let status = after["metadata"]["annotations"]["sandgate.dev/status"].as_str().unwrap();
    assert!(status.contains("\"mode\":\"required\"") && status.contains("\"egress\":\"advisory\""), "{status}");
}

#[test]
fn a_sidecar_without_name_servers_is_printed_with_a_note() {
    assert!(inject(&pod("p", ""), &[]).notes.contains("note: no dns.servers in the configuration"));
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, "dns: {servers: [10.96.0.10]}\n").unwrap();
    let run = inject(&pod("p", ""), &["--config", config.to_str().unwrap()]);
    assert_eq!(run.notes, "");
    let arguments = run.objects()[0]["spec"]["initContainers"][0]["args"].to_string();
    assert!(arguments.contains("--dns=10.96.0.10:53"), "{arguments}");
}

#[test]
fn what_cannot_be_read_is_named_with_file_and_line() {
    for (text, expected) in [
        ("a: 1\nb: [\n", "stdin: line 2: not valid YAML"),
        ("apiVersion: v1\nkind: Pod\nkind: Pod\n", "stdin: line 3: the key \"kind\" stands twice"),
        ("a: !!binary x\n", "stdin: line 1: tags"),
        ("{\"a\": 1}\n---\ntext\n", "stdin: line 3: expected an object"),
        (
            "\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {}\n",
            "stdin:2: Deployment default/d: there is no pod template at spec.template",
        ),
    ] {
        for command in ["inject", "explain"] {
            let run = run_with(text, &[command, "-f", "-"]);
            assert_eq!((run.code, run.out.as_str()), (1, ""), "{text:?}");
            assert!(run.notes.contains(expected), "{text:?}: {}", run.notes);
        }
    }
    let run = run(&["inject", "-f", "kinds.yaml", "-f", "no-such-file.yaml"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.notes.contains("no-such-file.yaml: No such file"), "{}", run.notes);
}

#[test]
fn a_kind_that_is_not_known_passes_with_a_warning_where_it_has_a_pod_template() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\n\
                spec: {template: {spec: {containers: [{name: a}]}}}\n";
    let run = inject(text, &[]);
    assert_eq!(run.objects(), objects(text));
    assert!(run.notes.starts_with("stdin:1: warning: Rollout r has a pod template"), "{}", run.notes);
}

#[test]
fn explain_says_for_each_pod_what_happens_and_why() {
    for mode in ["enabled", "required", "none"] {
        let run = run(&["explain", "-f", "pods.yaml", "--namespace-label", mode, "--namespace", "sandboxes"]);
        // A pod whose label means nothing is refused in every mode.
        assert_eq!((run.code, run.notes.as_str()), (1, ""));
        let path = files().join(format!("explain-{mode}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &run.out).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        let command = "UPDATE_GOLDEN=1 cargo test -p sandgate-webhook --test offline";
        assert!(run.out == expected, "{} is out of date: {command}\n{}", path.display(), run.out);
    }
    assert_eq!(run_with(&example(), &["explain", "-f", "-"]).code, 0);
    assert!(
        run_with("", &["explain", "-f", "-"])
            .out
            .ends_with("there is no pod in it, and nothing of a known kind that makes pods\n")
    );
}

#[test]
fn the_refusals_in_the_documentation_are_those_of_the_program() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhook.md")).unwrap();
    let (_, table) = page.split_once("<!-- Held against the program by webhook/tests/offline.rs. -->").unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let texts: Vec<&str> =
        rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('`').rev().nth(1)).collect();
    assert!(texts.len() >= 7, "{texts:?}");
    let flags = ["--namespace-label", "required", "--namespace", "sandboxes"];
    let explained = run(&[&["explain", "-f", "pods.yaml"], &flags[..]].concat()).out;
    for text in texts {
        assert!(explained.contains(text), "{text}\n{explained}");
    }
    // The first refusal of a fenced block, and the warning beforehand.
    let refused = explained.lines().find_map(|line| line.strip_suffix(" (baseline)")).unwrap();
    let refused = refused.trim_start().strip_prefix("refused").unwrap().trim_start();
    assert_eq!(page.matches(refused).count(), 2, "docs/webhook.md does not show twice: {refused}");
}

/// What kubectl makes of an object; its `--local` commands read a file as every other does.
fn by_kubectl(text: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("object.yaml");
    std::fs::write(&path, text).unwrap();
    let output = Command::new(kubectl())
        .args(["annotate", "--local", "-o", "json", "a=b", "-f"])
        .arg(&path)
        .env("KUBECONFIG", directory.path().join("none"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn kubectl_reads_what_inject_prints_as_the_same_object() {
    let run = inject(&example(), &[]);
    let mut ours = run.objects().remove(0);
    ours["metadata"]["annotations"]["a"] = "b".into();
    assert_eq!(by_kubectl(&run.out), ours);
}

#[test]
fn words_mean_to_us_what_they_mean_to_kubectl() {
    let words = "y Y yes Yes YES yEs n no NO on On off OFF true True TRUE tRue ~ null Null nULL 0 -0 012 0123_4 08 09.5 \
                 0o17 0O17 0x1F 0X1f 0b101 0B1 -0b11 0b2 1_000 1__0 _1 1_ +1 +-1 1e3 1E+3 1e-3 1.5e3 1. .5 -.5 +.5 . .. \
                 -.e1 1.0 1.10 1.2.3 1:30 190:20:30 2001-01-01 2001-12-14t21:59:43.10-05:00 12e03 0e0 1e 99999999999 \
                 9223372036854775807 -9223372036854775808 0x 0o 0b + - = inf nan 1e999 0777 0888 1,5 50m 1Gi";
    let words: Vec<&str> = words.split_whitespace().filter(|word| *word != "-").collect();
    let items: String = words.iter().map(|word| format!("- {word}\n")).collect();
    let keys = "on: 1\n  012: 2\n  0x1F: 3\n  1.5a: 4\n";
    let text = format!("apiVersion: example.dev/v1\nkind: Odd\nmetadata: {{name: x}}\nkeys:\n  {keys}words:\n{items}");
    let (ours, theirs) = (objects(&text).remove(0), by_kubectl(&text));
    assert_eq!(ours["keys"], theirs["keys"]);
    for (index, word) in words.iter().enumerate() {
        let (ours, theirs) = (&ours["words"][index], &theirs["words"][index]);
        // JSON has one kind of number; 1e-3 may be written in two ways.
        let same = ours == theirs || ours.is_number() && ours.as_f64() == theirs.as_f64();
        assert!(same, "{word}: {ours} here, {theirs} there");
    }
}

/// What makes YAML hard, between bars.
const PARTS: &str = "a|yes|no|0|1|12|e|.|_|:|#|- |-|? |: |{|}|[|]|,|&|*|!|>|'|\"|%|@|`|~|null|é|☺|😀|\\|0x|0o|+|=|<<|---|...|\
                     \u{a0}|\u{85}|\u{2028}|\u{feff}|\u{7f}|\u{1}|T|Z|2001-01-01";

#[test]
fn any_text_comes_back_through_kubectl_and_through_us() {
    // A fixed seed: a failure is the same on every machine.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let parts: Vec<&str> = PARTS.split('|').chain(["|", " ", "  ", "\n", "\n\n", "\t", "\r", "\r\n"]).collect();
    let mut text = || (0..next(7)).map(|_| parts[next(parts.len())]).collect::<String>();
    let values: Vec<Value> =
        (0..1500).map(|_| json!({ "v": text(), "in": [text(), [text()], {text(): text()}] })).collect();
    let object = json!({"apiVersion": "example.dev/v1", "kind": "Odd", "metadata": {"name": "x"}, "values": values});
    let written = documents::write([&object]).unwrap();
    let (ours, theirs) = (objects(&written).remove(0), by_kubectl(&written));
    for (index, value) in values.iter().enumerate() {
        assert_eq!(&ours["values"][index], value);
        assert_eq!(&theirs["values"][index], value);
    }
}
