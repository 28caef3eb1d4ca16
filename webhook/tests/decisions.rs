//! The documentation against the code: the table of reasons, and the one sentence about egress.

use std::fmt::Write as _;
use std::path::Path;

use sandgate_webhook::decision::EGRESS_ADVISORY;
use sandgate_webhook::reason::{Outcome, Reason};

const TABLE: &str = "<!-- Made from the table in webhook/src/reason.rs. After a change there: \
                     UPDATE_DOCS=1 cargo test -p sandgate-webhook --test decisions -->\n";

#[test]
fn the_documentation_has_every_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/decisions.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, _) = page.split_once(TABLE).expect("docs/decisions.md has the line before its tables");
    let written = format!("{head}{TABLE}{}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, written).unwrap();
        return;
    }
    assert!(
        written == page,
        "docs/decisions.md is out of date: UPDATE_DOCS=1 cargo test -p sandgate-webhook --test decisions"
    );
}

#[test]
fn every_page_that_people_decide_by_says_that_egress_is_advisory() {
    for page in ["README.md", "SECURITY.md", "docs/webhook.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let words = std::fs::read_to_string(path).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(EGRESS_ADVISORY), "{page} does not say: {EGRESS_ADVISORY}");
    }
}

fn tables() -> String {
    let mut text = String::new();
    for (outcome, title) in [
        (Outcome::Refused, "Refused: the pod, or the policy, does not get in"),
        (Outcome::Skipped, "Skipped: the object gets in as it is"),
        (Outcome::Injected, "Injected: the pod gets in with the sidecar"),
    ] {
        let _ = write!(text, "\n## {title}\n\n| code | what it means |\n|---|---|\n");
        for reason in Reason::ALL.iter().filter(|reason| reason.outcome() == outcome) {
            let _ = writeln!(text, "| `{}` | {} |", reason.code(), reason.meaning().trim());
        }
    }
    text
}
