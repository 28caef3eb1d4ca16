//! Files that are extended, byte for byte.

use super::*;

/// What `text` becomes when these requests are learnt.
fn extended(text: &str, urls: &[(&str, &str)]) -> String {
    let all = requests(urls);
    let extended = learnt_of(Some(text), From::Record, &all);
    assert_allows(&extended, &all);
    assert_eq!(learnt_of(Some(&extended), From::Record, &all), extended, "again");
    extended
}

const NEW: &[(&str, &str)] = &[("GET", "https://new.test/zen")];
const KNOWN: &[(&str, &str)] = &[("POST", "https://a.test/x")];

/// A file, methods and URLs, and what the file becomes.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

fn assert_extended(cases: &[Case<'_>]) {
    for (text, urls, expected) in cases {
        let extended = extended(text, urls);
        assert_eq!(extended, *expected, "\n{text}\nbecame\n{extended}");
    }
}

#[test]
fn what_stands_in_lines_gets_lines() {
    assert_extended(&[
        (
            "# mine\nversion: 1\ndestinations:\n  - id: a   # odd  blanks\n    host: 'a.test'\n    allow:\n    - {methods: [GET]}\n",
            NEW,
            "# mine\nversion: 1\ndestinations:\n  - id: a   # odd  blanks\n    host: 'a.test'\n    allow:\n    - {methods: [GET]}\n  \
             - id: new.test  # 1 request\n    host: new.test\n    allow:\n      - methods: [GET]  # 1 request\n        paths:\n          \
             - \"/zen\"  # 1 request\n",
        ),
        (
            "version: 1\ndestinations:\n- id: a\n  host: a.test\n  allow:\n  - methods: [GET]\n    # a reason\n\n  # another one\n\n  limits: {idle: 5m}\n\nmode: enforce\n",
            KNOWN,
            "version: 1\ndestinations:\n- id: a\n  host: a.test\n  allow:\n  - methods: [GET]\n    # a reason\n  - methods: [POST]  # 1 request\n    \
             paths:\n      - \"/x\"  # 1 request\n\n  # another one\n\n  limits: {idle: 5m}\n\nmode: enforce\n",
        ),
        (
            "destinations:\n-\n    id: a\n    host: >-\n      a.test\n\n# end\nversion: 1\n",
            NEW,
            "destinations:\n-\n    id: a\n    host: >-\n      a.test\n- id: new.test  # 1 request\n  host: new.test\n  allow:\n    \
             - methods: [GET]  # 1 request\n      paths:\n        - \"/zen\"  # 1 request\n\n# end\nversion: 1\n",
        ),
    ]);
}

#[test]
fn line_breaks_and_a_missing_last_one_stay() {
    let text = "version: 1\ndestinations:\n  - id: a\n    host: a.test\n    allow:\n      - paths: ['/y']";
    let added = "\n      - methods: [POST]  # 1 request\n        paths:\n          - \"/x\"  # 1 request";
    assert_extended(&[(text, KNOWN, &format!("{text}{added}"))]);
    for line_break in ["\r\n", "\r"] {
        let with = |text: &str| text.replace('\n', line_break);
        assert_extended(&[(&with(&format!("{text}\n")), KNOWN, &with(&format!("{text}{added}\n")))]);
    }
    let both = [KNOWN[0], NEW[0], ("GET", "https://a.test/../z")];
    let lines = "\n  - id: new.test  # 1 request\n    host: new.test\n    allow:\n      - methods: [GET]  # 1 request\n        paths:\n          \
                 - \"/zen\"  # 1 request\n# Not learnt: a.test:443: bad_path, 1 request";
    assert_eq!(learnt_of(Some(text), From::Record, &requests(&both)), format!("{text}{added}{lines}"));
}

#[test]
fn an_empty_list_in_brackets_becomes_one_in_lines() {
    let lines = "  - id: new.test  # 1 request\n    host: new.test\n    allow:\n      - methods: [GET]  # 1 request\n        paths:\n          \
                 - \"/zen\"  # 1 request\n";
    assert_extended(&[
        ("version: 1\ndestinations: []\n", NEW, &format!("version: 1\ndestinations:\n{lines}")),
        (
            "destinations: []  # none yet\nversion: 1\n",
            NEW,
            &format!("destinations:   # none yet\n{lines}version: 1\n"),
        ),
        ("version: 1\ndestinations: []", NEW, &format!("version: 1\ndestinations:\n{}", lines.trim_end())),
    ]);
}

#[test]
fn a_list_in_brackets_gets_items_before_the_closing_one() {
    assert_extended(&[
        (
            "version: 1\ndestinations:\n  - {id: a, host: a.test, allow: [{methods: [GET]}]}  # mine\n  - {id: b, host: b.test}\n",
            KNOWN,
            "version: 1\ndestinations:\n  - {id: a, host: a.test, allow: [{methods: [GET]}\n        , {methods: [POST], paths: [\"/x\"]}  # 1 request\n      \
             ]}  # mine\n  - {id: b, host: b.test}\n",
        ),
        (
            "version: 1\ndestinations:\n- id: \u{e9}\n  host: a.test\n  allow: [\n    {methods: [GET]},  # ] mine\n  ]\n".replace('\u{e9}', "e").as_str(),
            KNOWN,
            "version: 1\ndestinations:\n- id: e\n  host: a.test\n  allow: [\n    {methods: [GET]},  # ] mine\n      {methods: [POST], paths: [\"/x\"]}  # 1 request\n  ]\n",
        ),
        (
            "{version: 1, destinations: [{id: a, host: a.test}]}",
            NEW,
            "{version: 1, destinations: [{id: a, host: a.test}\n    , {id: new.test, host: new.test, allow: [{methods: [GET], paths: [\"/zen\"]}]}  # 1 request\n  ]}",
        ),
        (
            "{version: 1, destinations: [  ]}\n",
            &[("GET", "https://new.test/zen"), ("GET", "http://b.test:81/")],
            "{version: 1, destinations: [  \n    {id: b.test-http-81, host: b.test, ports: [81], scheme: http, allow: [{methods: [GET], paths: [\"/\"]}]}  # 1 request\n    \
             , {id: new.test, host: new.test, allow: [{methods: [GET], paths: [\"/zen\"]}]}  # 1 request\n  ]}\n",
        ),
    ]);
}

#[test]
fn places_are_found_behind_characters_of_more_than_a_byte() {
    let text = "# b\u{fc}cher \u{1f4da}\nversion: 1\ndestinations:\n  - id: a\n    host: b\u{fc}cher.example  # \u{fc}\n    allow: [{methods: [GET]}]  # \u{fc}\n";
    let extended = extended(text, &[("POST", "https://xn--bcher-kva.example/x"), ("GET", "https://new.test/zen")]);
    assert!(extended.contains("[{methods: [GET]}\n        , {methods: [POST], paths: [\"/x\"]}  # 1 request\n      ]  # \u{fc}\n  - id: new.test"), "{extended}");
    let marked = format!("\u{feff}{text}");
    assert_eq!(
        learnt_of(Some(&marked), From::Record, &requests(NEW)),
        format!("\u{feff}{}", learnt_of(Some(text), From::Record, &requests(NEW)))
    );
}

#[test]
fn an_id_stands_once() {
    let text =
        "version: 1\ndestinations:\n  - id: new.test\n    host: other.test\n  - id: new.test-2\n    host: third.test\n";
    assert!(extended(text, NEW).contains("  - id: new.test-3  # 1 request\n    host: new.test\n"));
    let long = format!("https://{}.{}.test/", "a".repeat(60), "b".repeat(60));
    let longer = long.replace("https://", "http://");
    let text = extended("version: 1\ndestinations: []\n", &[("GET", &long), ("GET", &longer)]);
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert!(policy.rules().iter().all(|rule| rule.id.len() == 63), "{text}");
}

#[test]
fn nothing_new_leaves_the_file_as_it_is() {
    let text = "version: 1\nmode: audit\ndestinations: [{id: a, host: a.test}]";
    assert_eq!(extended(text, KNOWN), text);
    assert_eq!(learnt_of(Some(text), From::Record, &[]), text);
}

/// Files put together of parts, extended by a host that they have and one that they have not.
#[test]
fn files_of_any_form_are_extended_and_stay_what_they_were() {
    let lists = [
        "[{methods: [GET]}]",
        "[ {methods: [GET]}, ]",
        "\n      - methods: [GET]",
        "\n    - {methods: [GET]}  # x\n    # y\n",
        "\n      -\n        methods:\n        - GET\n",
    ];
    let breaks = ["\n", "\r\n"];
    let ends =
        ["", "\n", "\n\n# end\n", "\n    limits: {idle: 5m}\n", "\n  - {id: z, host: z.test}\n", "\nmode: audit\n"];
    for list in lists {
        for line_break in breaks {
            for end in ends {
                let text = format!(
                    "version: 1\ndestinations:\n  # first\n  - host: a.test\n    id: \"a\"\n    allow: {list}{end}"
                );
                let text = text.replace('\n', line_break);
                if Policy::parse(text.as_bytes()).is_err() {
                    continue;
                }
                let extended = extended(&text, &[KNOWN[0], NEW[0]]);
                let mut rest = extended.as_str();
                for character in text.chars() {
                    rest = &rest
                        [rest.find(character).unwrap_or_else(|| panic!("{text}\n{extended}")) + character.len_utf8()..];
                }
                let is_changed = |line: &&str| !extended.split(line_break).any(|kept| kept == *line);
                let changed: Vec<_> = text.split(line_break).filter(is_changed).collect();
                let expected = usize::from(list.starts_with('['));
                assert_eq!(changed.len(), expected, "{changed:?}\n{text}\n{extended}");
            }
        }
    }
}

/// The files of the policy's fuzzing, and those of the documentation.
fn policies() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let seeds = std::fs::read_dir(root.join("fuzz/seeds/policy")).unwrap();
    let mut texts: Vec<_> = seeds.filter_map(|seed| std::fs::read_to_string(seed.unwrap().path()).ok()).collect();
    for page in ["README.md", "docs/policy.md", "docs/learn.md"] {
        let page = std::fs::read_to_string(root.join(page)).unwrap();
        texts.extend(page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned));
    }
    texts.retain(|text| Policy::parse(text.as_bytes()).is_ok());
    texts
}

#[test]
fn policies_that_people_and_fuzzers_write_are_extended() {
    let policies = policies();
    assert!(policies.len() > 5, "{policies:?}");
    for text in policies {
        let known: Vec<_> = Policy::parse(text.as_bytes()).unwrap().rules().to_vec();
        let all = requests(&[("PATCH", "https://new.test:4711/zen"), ("PATCH", "https://api.github.com:4711/zen")]);
        let extended = learnt_of(Some(&text), From::Record, &all);
        let rules = Policy::parse(extended.as_bytes()).unwrap().rules().to_vec();
        for (before, after) in known.iter().zip(&rules) {
            assert_eq!(before.pattern, after.pattern, "{text}\n{extended}");
            assert_eq!(before.limits, after.limits, "{text}\n{extended}");
        }
        assert_eq!(learnt_of(Some(&extended), From::Record, &all), extended, "again");
    }
}

/// What learning for `before` makes of `now`, which somebody made of it meanwhile.
fn extended_after_a_change(before: Option<&str>, now: &str, urls: &[(&str, &str)]) -> String {
    let policy = |text: &str| Policy::parse(text.as_bytes()).unwrap();
    let mut learner = Learner::new(before.map_or_else(Policy::deny_all, policy));
    for (number, request) in (0..).zip(requests(urls)) {
        request.records(number).iter().for_each(|record| tell(&mut learner, From::Record, record));
    }
    learner.finish();
    document::extended(now, &Additions::of(&learner, &policy(now), Ranges::Each))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_the_file_allows_or_denies_by_now_is_not_added() {
    let urls = [
        ("GET", "https://a.test/zen"),
        ("GET", "https://a.test/items/7"),
        ("POST", "https://a.test/secret/x"),
        ("POST", "https://a.test/secret/x"),
        ("OPTIONS", "https://a.test/x"),
    ];
    let with = |more: &str| format!("version: 1\ndestinations:\n  - id: a\n    host: a.test\n{more}");
    for before in [None, Some("version: 1\ndestinations: []\n"), Some(&*with("    allow: [{methods: [PUT]}]\n"))] {
        let same = |now: &str| assert_eq!(extended_after_a_change(before, now, &urls), now, "{before:?}");
        same(&with(""));
        same(&with("    allow: [{methods: [GET, POST, OPTIONS]}]\n"));
        same(&with("    allow:\n      - paths: ['/**']\n"));
        let denied = "# Not learnt: a.test:443: request_denied, 2 requests\n";
        let now = with("    deny: [{paths: ['/secret/**']}]\n");
        assert_eq!(extended_after_a_change(before, &now, &urls), format!("{now}{denied}"), "{before:?}");
        let now =
            with("    deny:\n      - {methods: [POST]}\n    allow:\n      - {methods: [GET], paths: ['/items/*']}\n");
        let added = "      - methods: [GET]  # 1 request\n        paths:\n          - \"/zen\"  # 1 request\n      \
                     - methods: [OPTIONS]  # 1 request\n        paths:\n          - \"/x\"  # 1 request\n";
        assert_eq!(extended_after_a_change(before, &now, &urls), format!("{now}{added}{denied}"), "{before:?}");
    }
}
