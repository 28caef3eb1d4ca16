//! Whatever is asked for, by however many: odd paths, hosts and methods without end.

use super::*;

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..=self.below(6) {
            path.push_str(self.of(&["/", "/", "/", "%2F", "%2f"]));
            for _ in 0..self.below(3) {
                path.push_str(self.of(PIECES));
            }
        }
        if self.below(40) == 0 {
            path = path.repeat(1 + self.below(120));
        }
        if path.starts_with('/') { path } else { format!("/{path}") }
    }

    fn request(&mut self) -> Request {
        let host =
            self.of(&["a.test", "b-c.test", "xn--bcher-kva.example", "_x.test", "192.0.2.7", "[2001:db8::1]", "null"]);
        let (scheme, port) = (self.of(&["https", "http"]), self.of(&["", ":8443", ":80", ":443"]));
        let method = self.of(&[
            "GET",
            "GET",
            "GET",
            "HEAD",
            "POST",
            "get",
            "M-SEARCH",
            "null",
            "*",
            "!#$%&'*+-.^_`|~",
            "A-METHOD-OF-MORE-THAN-TWENTY-FOUR-BYTES",
            "A-METHOD-OF-24-BYTES-ABC",
        ]);
        Request { path: self.path(), ..Request::new(method, &format!("{scheme}://{host}{port}/")) }
    }
}

const PIECES: &[&str] = &[
    "a",
    "b",
    "items",
    "v1",
    "42",
    "7",
    "*",
    "**",
    "***",
    "@scope",
    "name.tgz",
    "-",
    "%20",
    "%25",
    "%2A",
    "%3f",
    "%23",
    "{x}",
    "\"",
    "'",
    "|",
    "[",
    "~",
    ";x=1",
    ":",
    "..a",
    "%2e.a",
    "..",
    ".",
    "..;",
    "%5c",
    "%",
    "%zz",
    "%00",
    "caf\u{e9}",
    "&y",
    "$x",
    "550e8400-e29b-41d4-a716-446655440000",
    "0123456789abcdef0123",
    "a-name-of-more-than-twenty-four-characters",
    "#!&*x",
    "very-long%2Fwith-an-encoded-slash-in-it",
    "- id: evil",
    "x\u{2028}y",
];

/// Whether hyper can have read the path. What a line does not show of it has no fault, or nobody could know.
fn can_come(request: &Request, from: From) -> bool {
    let fault = |path: &str| sandgate_policy::path::fault(path);
    let is_shown = fault(&request.path) == fault(&LoggedPath::of(&request.path).to_string());
    // No entry can name it.
    request.method.as_str() != "*"
        && PathAndQuery::try_from(request.path.as_str()).is_ok_and(|path| path.path() == request.path)
        && (matches!(from, From::Record) || is_shown)
}

#[test]
fn whatever_was_observed_is_allowed_by_the_policy_that_is_written() {
    let mut numbers = Numbers(7);
    for from in [From::Record, From::Line] {
        for round in 0..60 {
            let count = 1 + numbers.below(if round % 10 == 0 { 400 } else { 30 });
            let all: Vec<_> = (0..count).map(|_| numbers.request()).filter(|request| can_come(request, from)).collect();
            let (first, more) = all.split_at(all.len() / 2);
            let text = learnt_of(None, from, first);
            assert_allows(&text, first);
            let again = learnt_of(Some(&text), from, first);
            assert_eq!(again, text, "what is allowed already is not added again");
            let extended = learnt_of(Some(&text), from, more);
            let mut lines = extended.lines();
            for line in text.lines().filter(|line| *line != "destinations: []") {
                assert!(lines.any(|kept| kept == line), "{line} is gone:\n{extended}");
            }
            // A path that no list allows needs a destination without lists, and those of the first half may have some; a
            // method that is not known needs paths, and there may be none.
            let faultless = |request: &&Request| {
                sandgate_policy::path::fault(&request.path).is_none()
                    && (2..24).contains(&request.method.as_str().len())
            };
            assert_allows(&extended, &more.iter().filter(faultless).cloned().collect::<Vec<_>>());
        }
    }
}

#[test]
fn hosts_and_paths_without_end_stay_bounded_and_it_is_said() {
    let hosts = (0..3_000).map(|number| Request::new("GET", &format!("https://h{number}.test/")));
    let text = learnt_of(None, From::Record, &hosts.collect::<Vec<_>>());
    assert_eq!(Policy::parse(text.as_bytes()).unwrap().rules().len(), crate::learn::seen::MAX_DESTINATIONS);
    let comment = "# Left out, as too many different hosts, methods and paths were asked for: 2000 requests\n";
    assert!(text.ends_with(comment), "{text}");
    let mut numbers = Numbers(3);
    let long = |numbers: &mut Numbers| {
        format!("https://a{}.test/{}", numbers.below(900), "long/".repeat(150 + numbers.below(30)))
    };
    let methods = (0..5_000).map(|number| Request::new(&format!("M{number}"), &long(&mut numbers)));
    let text = learnt_of(None, From::Record, &methods.collect::<Vec<_>>());
    assert!(text.len() < 3 << 20 && text.contains("# Left out"), "{}", text.len());
}

#[test]
fn nothing_that_was_asked_for_begins_a_line_a_comment_or_a_value() {
    let odd = [
        "/\"x\": [y]",
        "/a # b",
        "/a\u{2028}- id: evil",
        "/a\u{85}b",
        "/'x'",
        "/\\u000a",
        "/{a: b}",
        "/&a",
        "/!t",
        "/%",
    ];
    let mut all: Vec<_> =
        odd.iter().map(|path| Request { path: (*path).to_owned(), ..Request::new("GET", "https://a.test/") }).collect();
    all.retain(|request| can_come(request, From::Record));
    assert!(all.len() > 5, "{all:?}");
    let text = learnt_of(None, From::Record, &all[..all.len() - 1]);
    assert!(text.is_ascii() && !text.contains("evil\n"), "{text}");
    assert_eq!(Policy::parse(text.as_bytes()).unwrap().rules().len(), 1, "{text}");
}
