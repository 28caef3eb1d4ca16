//! What the documents of the repository say of its code is true: the table of requirements names tests that exist, and
//! ARCHITECTURE.md gives a reason for every dependency, and the policies that are shown are valid.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sandgate_policy::Policy;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands in backquotes in a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What stands in place of a test that is not there yet.
const NO_TEST: &str = "–";

#[test]
fn every_test_that_the_requirements_name_exists() {
    let page = read("docs/requirements.md");
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && *line != "| requirement | test |").collect();
    assert!(!rows.is_empty(), "docs/requirements.md has no rows");
    let mut missing = Vec::new();
    for row in &rows {
        let (requirement, tests) =
            row.trim_end_matches(" |").rsplit_once(" | ").unwrap_or_else(|| panic!("two cells: {row}"));
        if tests == NO_TEST {
            println!("{tests}: {requirement}");
            continue;
        }
        assert!(quoted(tests).chain(links(tests)).next().is_some(), "neither a test nor a page nor –: {row}");
        missing.extend(quoted(tests).filter(|test| !exists(test)).map(str::to_owned));
        missing.extend(links(tests).filter(|link| !is_section(link)).map(str::to_owned));
    }
    assert!(missing.is_empty(), "docs/requirements.md names what does not exist:\n{}", missing.join("\n"));
}

/// Where the links of a text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Whether `page#heading`, seen from docs/, is there.
fn is_section(link: &str) -> bool {
    let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
    let Ok(text) = fs::read_to_string(root().join("docs").join(page)) else { return false };
    let mut headings = text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    anchor.is_empty() || headings.any(|heading| slug(heading.trim()) == anchor)
}

/// A heading as links name it: lower case, hyphens for spaces, and no punctuation but underscores.
fn slug(heading: &str) -> String {
    let heading = heading.to_lowercase().replace(' ', "-");
    heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_')).collect()
}

/// Whether `file::function` is a test: the function stands below an attribute that makes it one or in a table of
/// kind-test, or it is a golden test, whose function a macro makes of the name of a folder.
fn exists(test: &str) -> bool {
    let Some((path, function)) = test.split_once("::") else { return false };
    let Ok(source) = fs::read_to_string(root().join(path)) else { return false };
    let signature = format!("fn {function}(");
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("fn ") || line.starts_with("async fn ") {
            if is_test && line.trim_start_matches("async ").starts_with(&signature) {
                return true;
            }
            is_test = false;
        }
    }
    is_golden(path, &source, function) || is_listed(&source, &signature, function)
}

/// Whether the table of a file of kind-test has the function.
fn is_listed(source: &str, signature: &str, name: &str) -> bool {
    let listed = source.split("tests!(").skip(1).filter_map(|rest| rest.split(");").next());
    source.contains(signature) && listed.flat_map(|list| list.split([',', ':', '\n'])).any(|known| known.trim() == name)
}

/// Whether `golden!` of this file has the name, and the folder of that name beside it is there.
fn is_golden(path: &str, source: &str, name: &str) -> bool {
    let named = source.split("golden! {").nth(1).and_then(|rest| rest.split('}').next());
    let is_named = named.is_some_and(|names| names.split_whitespace().any(|known| known == name));
    let folder = root().join(path).with_extension("").join(name.replace('_', "-"));
    is_named && folder.is_dir()
}

#[test]
fn every_file_of_the_code_is_on_the_map() {
    let page = read("ARCHITECTURE.md");
    let map = page.split("\n## ").find(|section| section.starts_with("Codemap\n")).expect("it has the section");
    let mut missing = Vec::new();
    for name in ["policy", "service", "sidecar", "webhook"] {
        let head = format!("{name}/src/`");
        let part = map.split("\nIn `").find(|part| part.starts_with(&head));
        let part = part.unwrap_or_else(|| panic!("the map has no part for {head}"));
        for entry in fs::read_dir(root().join(name).join("src")).expect("a crate has sources") {
            let entry = entry.expect("it can be listed");
            let file = entry.file_name().into_string().expect("a name in ASCII");
            let file = if entry.path().is_dir() { file + "/" } else { file };
            if file != "lib.rs" && !part.contains(&format!("`{file}")) {
                missing.push(format!("{name}/src/{file}"));
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md, Codemap: no line for {missing:?}");
}

#[test]
fn every_dependency_has_a_reason() {
    let page = read("ARCHITECTURE.md");
    let section =
        page.split("\n## ").find(|section| section.starts_with("Dependencies\n")).expect("it has the section");
    let rows = section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split(" | ").next());
    let named: BTreeSet<&str> = rows.flat_map(quoted).collect();
    let crates = [
        "contract",
        "ca-tool",
        "policy",
        "service",
        "sidecar",
        "testkit",
        "webhook",
        "kind-test",
        "images",
        "clients",
        "bench",
        "fuzz",
    ];
    let used: Vec<String> = crates.iter().flat_map(|name| dependencies(name)).collect();
    let used: BTreeSet<&str> = used.iter().map(String::as_str).filter(|name| !name.starts_with("sandgate-")).collect();
    let unexplained: Vec<_> = used.difference(&named).collect();
    let unused: Vec<_> = named.difference(&used).collect();
    assert!(unexplained.is_empty(), "ARCHITECTURE.md, Dependencies: no reason for {unexplained:?}");
    assert!(unused.is_empty(), "ARCHITECTURE.md, Dependencies: nothing uses {unused:?}");
}

/// The names in all tables of dependencies of a crate.
fn dependencies(directory: &str) -> Vec<String> {
    let manifest = read(&format!("{directory}/Cargo.toml"));
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some(end) = line.find(['.', ' ', '=']).filter(|_| !line.starts_with('#')) {
            names.push(line[..end].to_owned());
        }
    }
    names
}

#[test]
fn every_policy_in_the_documentation_is_valid() {
    for file in ["README.md", "docs/policy.md", "docs/learn.md"] {
        let text = read(file);
        let policies: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!policies.is_empty(), "{file} shows no policy");
        for policy in policies {
            Policy::parse(policy.as_bytes()).unwrap_or_else(|errors| panic!("{file}: {errors}\n{policy}"));
        }
    }
}

#[test]
fn every_member_of_the_workspace_is_in_the_context_of_images() {
    let (manifest, ignored) = (read("Cargo.toml"), read(".dockerignore"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).expect("a list of members");
    for member in members.trim_end_matches(']').split(", ").map(|member| member.trim_matches('"')) {
        for needed in ["Cargo.toml", "src"] {
            let line = format!("!{member}/{needed}");
            assert!(
                ignored.lines().any(|known| known == line),
                ".dockerignore has no {line}: cargo in the builder needs it"
            );
        }
    }
}
