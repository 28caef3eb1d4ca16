//! What the validating side says to what comes out of the patch, and to what others make of it.

use sandgate_contract::CONTAINER_NAME;
use sandgate_webhook::mode::Mode;
use sandgate_webhook::reason::Reason;
use sandgate_webhook::validate::validate;
use serde_json::{Value, json};

use crate::case::Case;
use crate::properties::{collect, complete, patched};

fn validated(case: &mut Case, pod: Value) -> sandgate_webhook::decision::Decision {
    case.request.object = pod;
    validate(&case.situation(), &case.request)
}

#[test]
fn what_is_patched_is_verified_also_when_the_api_server_has_completed_it() {
    for (name, mut case, pod) in patched() {
        let mut completed = pod.clone();
        complete(&mut completed);
        for pod in [pod, completed] {
            let decision = validated(&mut case, pod);
            assert_eq!(decision.reason, Reason::Verified, "{name}: {}", decision.message);
            // What another webhook put before the sidecar stays there, and is said.
            let precedes = decision.warnings.iter().filter(|warning| warning.contains("starts before the sidecar"));
            let expected = usize::from(name == "reinvocation_with_added_container");
            assert_eq!((precedes.count(), decision.warnings.len()), (expected, expected), "{name}");
        }
    }
}

#[test]
fn whatever_becomes_of_a_pod_none_gets_in_where_the_sidecar_is_required_without_what_we_made() {
    let odd = [Value::Null, json!([]), json!({}), json!(""), json!("x"), json!(1), json!(true), json!([{"name": 1}])];
    let (mut decided, mut refused) = (0, 0);
    let required = |case: &Case| case.mode == Mode::Required && case.request.operation == "CREATE";
    for (name, mut case, pod) in patched().into_iter().filter(|(_, case, _)| required(case)) {
        let container = case.situation().rendering.container.clone();
        let mut pointers = Vec::new();
        collect(&pod, &mut String::new(), &mut pointers);
        for (pointer, value) in pointers.iter().flat_map(|pointer| odd.iter().map(move |value| (pointer, value))) {
            let mut changed = pod.clone();
            *changed.pointer_mut(pointer).unwrap() = value.clone();
            let decision = validated(&mut case, changed.clone());
            decided += 1;
            if !decision.allowed() {
                refused += 1;
                continue;
            }
            let sidecar = &changed["spec"]["initContainers"][0];
            assert_eq!(sidecar["name"], CONTAINER_NAME, "{name} {pointer} {value}");
            for field in ["image", "command", "args", "env", "lifecycle", "restartPolicy", "volumeMounts"] {
                let same = sidecar[field] == container[field];
                assert!(same || pointer.ends_with("/apiVersion"), "{name} {pointer} {value}: {field}");
            }
            assert_eq!(
                changed["spec"]["volumes"].as_array().map(Vec::len),
                pod["spec"]["volumes"].as_array().map(Vec::len)
            );
        }
    }
    assert!(decided > 1000 && refused > decided / 4, "{refused} of {decided}");
}
