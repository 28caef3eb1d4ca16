//! What the documentation shows is true: its policies are valid.

use std::fs;
use std::path::Path;

use sandgate_sidecar::policy::Policy;

#[test]
fn every_policy_in_the_documentation_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in ["README.md", "docs/policy.md"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let policies: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!policies.is_empty(), "{file} shows no policy");
        for policy in policies {
            Policy::parse(policy.as_bytes()).unwrap_or_else(|errors| panic!("{file}: {errors}\n{policy}"));
        }
    }
}
