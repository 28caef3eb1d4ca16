//! One YAML document as a tree that knows its lines. It knows nothing of policies; the settings file is read with it too.
//!
//! What makes YAML surprising is refused: anchors and aliases, tags, several documents, duplicate keys.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

/// The largest file that is read, in bytes. 10,000 destinations with lists of their own take about 2 MiB.
pub const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting that is read. A policy needs six levels.
pub const MAX_DEPTH: usize = 16;

/// A value and the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The line on which it starts, from 1.
    pub line: usize,
    /// Its first character and the one after its last, counted in characters from the start of the text. A list or mapping
    /// in brackets has these in it; another one ends with its last value. Behind a quoted text, blanks and a comment on the
    /// same line may be in it, behind a block of text the line breaks.
    pub span: Range<usize>,
    /// What stands there.
    pub value: Value,
}

/// A YAML value. Scalars are not typed: `8080`, `yes` and `~` stay the text that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the file, no key twice.
    Mapping(Vec<Entry>),
}

/// The text of a single value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, with quotes and escapes resolved.
    pub text: String,
    /// Whether it was written without quotes; only then does an empty text, `~` or `null` mean "nothing".
    pub plain: bool,
}

impl Scalar {
    /// Whether this is YAML's null: nothing, `~` or `null`, unquoted.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The line of the key, from 1.
    pub line: usize,
    /// The value.
    pub value: Node,
}

/// Something in a file that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// What was read. The tree may be used to look for more problems, but not otherwise, while there are faults.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The document; `None` for an empty one, and after a syntax error.
    pub root: Option<Node>,
    /// All that is wrong, in the order of the file.
    pub faults: Vec<Fault>,
}

/// Reads one document. Never panics and never fails: all that is wrong is among the faults.
#[must_use]
pub fn parse(text: &[u8]) -> Parsed {
    match decode(text) {
        Ok(text) => Builder::default().build(text),
        Err(fault) => Parsed { root: None, faults: vec![fault] },
    }
}

/// The one of `known` that `name` is most likely a misspelling of.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn decode(text: &[u8]) -> Result<&str, Fault> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(Fault { line: 1, message });
    }
    std::str::from_utf8(text).map_err(|error| Fault {
        line: 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count(),
        message: "the file is not UTF-8 from here on; save it as UTF-8".to_owned(),
    })
}

/// The number of the last line; one ends at LF, CR or both (YAML 1.2.2, 5.4).
fn last_line(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_end = |place: usize| bytes[place] == b'\n' || bytes[place] == b'\r' && bytes.get(place + 1) != Some(&b'\n');
    1 + (0..bytes.len()).filter(|place| is_end(*place)).count()
}

/// What to do where [`follows_brackets`]: whoever adds an item to a list may not see which form the list has.
const AFTER_BRACKETS: &str = "; an item that begins with - does not go on with the list in brackets before it: write the \
                              item without the - before the closing bracket; an empty [] is removed instead";

/// Whether this line, from 1, begins an item of a list and what stands before it ends a list in brackets.
fn follows_brackets(text: &str, line: usize) -> bool {
    let content = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
    let is_some = |line: &String| !line.is_empty() && !line.starts_with('#');
    let mut before = text.lines().take(line).map(content).filter(is_some).collect::<Vec<_>>().into_iter().rev();
    before.next().is_some_and(|item| item.starts_with("- ")) && before.next().is_some_and(|list| list.ends_with(']'))
}

/// A list or mapping whose end has not been read.
enum Open {
    Sequence { start: Marker, items: Vec<Node> },
    Mapping { start: Marker, entries: Vec<Entry>, seen: HashMap<String, usize>, key: Option<Key> },
}

/// A key whose value has not been read.
struct Key {
    name: String,
    line: usize,
    repeated: bool,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    faults: Vec<Fault>,
}

impl Builder {
    fn build(mut self, text: &str) -> Parsed {
        let mut parser = Parser::new(StrInput::new(text));
        while let Some(event) = parser.next_event() {
            let keep_reading = match event {
                Ok((event, span)) => self.take(event, span),
                Err(error) => self.fail(&error, text),
            };
            if !keep_reading {
                return Parsed { root: None, faults: self.faults };
            }
        }
        Parsed { root: self.root, faults: self.faults }
    }

    fn fail(&mut self, error: &ScanError, text: &str) -> bool {
        // At the end of a file without a final line break, the parser counts one line too many.
        let line = error.marker().line().min(last_line(text));
        let message = if error.info().contains("anchor") {
            "an unquoted * begins a YAML alias, which is not read; a host with a wildcard is written \"*.example.com\""
                .to_owned()
        } else {
            let hint = if follows_brackets(text, line) { AFTER_BRACKETS } else { "" };
            format!("not valid YAML: {}{hint}", error.info())
        };
        self.fault(line, message);
        false
    }

    fn fault(&mut self, line: usize, message: impl Into<String>) {
        self.faults.push(Fault { line, message: message.into() });
    }

    /// Takes one event in; `false` when there is no sense in reading on.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => return self.start_document(line),
            Event::Alias(_) => {
                self.fault(line, "aliases are not read; write the value out");
                self.add(placed(span, Value::Scalar(Scalar { text: String::new(), plain: true })));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(line, anchor, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                self.add(placed(span, Value::Scalar(Scalar { text: text.into_owned(), plain })));
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_properties(line, anchor, tag.is_some());
                return self.enter(Open::Sequence { start: span.start, items: Vec::new() }, line);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_properties(line, anchor, tag.is_some());
                let (start, entries, seen) = (span.start, Vec::new(), HashMap::new());
                let mapping = Open::Mapping { start, entries, seen, key: None };
                return self.enter(mapping, line);
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn start_document(&mut self, line: usize) -> bool {
        self.documents += 1;
        if self.documents > 1 {
            self.fault(line, "a second document begins here; a file holds one, so remove the ---");
        }
        self.documents == 1
    }

    fn refuse_properties(&mut self, line: usize, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.fault(line, "anchors (&name) are not read; write the value out where it is used");
        }
        if tagged {
            self.fault(line, "tags (!name) are not read; remove it, or quote a text that begins with !");
        }
    }

    fn enter(&mut self, open: Open, line: usize) -> bool {
        if self.open.len() == MAX_DEPTH {
            self.fault(line, format!("nested more than {MAX_DEPTH} levels deep"));
            return false;
        }
        self.open.push(open);
        true
    }

    fn leave(&mut self, span: Span) {
        let (start, last, value) = match self.open.pop() {
            Some(Open::Sequence { start, items }) => {
                (start, items.last().map(|item| item.span.end), Value::Sequence(items))
            }
            Some(Open::Mapping { start, entries, .. }) => {
                (start, entries.last().map(|entry| entry.value.span.end), Value::Mapping(entries))
            }
            None => return,
        };
        // What ends without a bracket is noticed only at what follows it.
        let bracket = (span.start != span.end).then(|| span.start.index() + 1);
        let end = bracket.or(last).unwrap_or_else(|| span.end.index());
        self.add(Node { line: start.line(), span: start.index()..end, value });
    }

    /// Puts a finished node where it belongs: into the list or mapping that is open, or at the root.
    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, seen, key, .. }) => match key.take() {
                None => {
                    let (name, fault) = read_key(node, seen);
                    *key = Some(name);
                    self.faults.extend(fault);
                }
                // It was reported; the first one counts while other problems are looked for.
                Some(Key { repeated: true, .. }) => {}
                Some(Key { name, line, .. }) => entries.push(Entry { key: name, line, value: node }),
            },
        }
    }
}

fn placed(span: Span, value: Value) -> Node {
    Node { line: span.start.line(), span: span.start.index()..span.end.index(), value }
}

fn read_key(node: Node, seen: &mut HashMap<String, usize>) -> (Key, Option<Fault>) {
    let line = node.line;
    let Value::Scalar(Scalar { text: name, .. }) = node.value else {
        let message = "a key has to be a single word, not a list or mapping".to_owned();
        return (Key { name: String::new(), line, repeated: true }, Some(Fault { line, message }));
    };
    let fault = seen
        .get(&name)
        .map(|first| Fault { line, message: format!("the key {name:?} stands twice; the first is on line {first}") });
    seen.entry(name.clone()).or_insert(line);
    (Key { name, line, repeated: fault.is_some() }, fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse(text.as_bytes()).faults.iter().map(ToString::to_string).collect()
    }

    fn root(text: &str) -> Node {
        let parsed = parse(text.as_bytes());
        assert_eq!(parsed.faults, []);
        parsed.root.unwrap()
    }

    #[test]
    fn a_syntax_error_at_the_end_is_on_the_last_line() {
        for (text, line) in [("a: 1\nb", 2), ("a: 1\r\nb", 2), ("a: 1\rb", 2), ("a: {", 1)] {
            let faults = parse(text.as_bytes()).faults;
            assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [line], "{text:?}");
        }
    }

    #[test]
    fn every_key_and_value_knows_its_line() {
        let Value::Mapping(entries) = root("# first\na: 1\n\nb:\n  - x\n  - 'y'\n").value else { panic!("no mapping") };
        assert_eq!((entries[0].line, entries[0].value.line), (2, 2));
        assert_eq!((entries[1].line, entries[1].value.line), (4, 5));
        let Value::Sequence(items) = &entries[1].value.value else { panic!("no list") };
        let value = Value::Scalar(Scalar { text: "y".into(), plain: false });
        assert_eq!(items[1], Node { line: 6, span: 27..30, value });
    }

    /// What stands at each value, from the outermost on.
    fn spans(text: &str) -> Vec<String> {
        fn collect(node: &Node, text: &str, found: &mut Vec<String>) {
            found.push(text.chars().skip(node.span.start).take(node.span.len()).collect());
            match &node.value {
                Value::Scalar(_) => {}
                Value::Sequence(items) => items.iter().for_each(|item| collect(item, text, found)),
                Value::Mapping(entries) => entries.iter().for_each(|entry| collect(&entry.value, text, found)),
            }
        }
        let mut found = Vec::new();
        collect(&root(text), text, &mut found);
        found
    }

    #[test]
    fn every_value_knows_where_it_begins_and_ends() {
        for (text, expected) in [
            ("\u{e9}: [a, 'b'] # c\n", &["\u{e9}: [a, 'b']", "[a, 'b']", "a", "'b'"][..]),
            ("a:\n- b\n- c # d\n\n# e\n", &["a:\n- b\n- c", "b\n- c", "b", "c"]),
            ("{a: [b # c\n  , d]} # e\n", &["{a: [b # c\n  , d]}", "[b # c\n  , d]", "b", "d"]),
            ("\u{feff}a: []\r\nb: {}\r\n", &["a: []\r\nb: {}", "[]", "{}"]),
        ] {
            assert_eq!(spans(text), expected, "{text:?}");
        }
        let nested = spans("a:\n  - b: c # d\n    e: {f: g}\n\n# h\ni: j\n");
        assert_eq!(nested[1..3], ["- b: c # d\n    e: {f: g}", "b: c # d\n    e: {f: g}"]);
    }

    #[test]
    fn scalars_keep_their_text_and_whether_they_were_quoted() {
        for (text, expected, plain, null) in [
            ("0x1F", "0x1F", true, false),
            ("\"no\"", "no", false, false),
            ("~", "~", true, true),
            ("'~'", "~", false, false),
            ("1.10", "1.10", true, false),
        ] {
            let Value::Scalar(scalar) = root(text).value else { panic!("no scalar") };
            assert_eq!((scalar.text.as_str(), scalar.plain, scalar.is_null()), (expected, plain, null), "{text}");
        }
    }

    #[test]
    fn what_surprises_is_refused_with_its_line() {
        for (text, expected) in [
            ("a: 1\nb: &x 2\n", "line 2: anchors"),
            ("a: &x 1\nb: *x\n", "line 2: aliases"),
            ("a:\n  host: *.example.com\n", "line 2: an unquoted *"),
            ("a: !!str 1\n", "line 1: tags"),
            ("a: !env X\n", "line 1: tags"),
            ("a: 1\n---\nb: 1\n", "line 2: a second document"),
            ("a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" stands twice; the first is on line 1"),
            ("{a: 1, a: 2}", "line 1: the key \"a\" stands twice"),
            ("? [a]\n: 1\n", "line 1: a key has to be"),
            ("a: 1\n b: [\n", "line 2: not valid YAML"),
            ("a: \"unclosed\n", "not valid YAML"),
        ] {
            let faults = faults(text);
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{text:?} gave {faults:?}");
        }
    }

    #[test]
    fn an_item_below_a_list_in_brackets_is_told_where_it_belongs() {
        for text in [
            "version: 1\ndestinations: []\n  - {id: x, host: x}\n",
            "version: 1\ndestinations: []\n- {id: x, host: x}\n",
            "a:\n  - id: x\n    private_cidrs: [\"127.0.0.0/8\"] # loopback\n\n    # one more\n      - 10.1.2.3/32\n",
            "a:\n  - id: x\n    private_cidrs: [\n      \"127.0.0.0/8\"]\n    - 10.1.2.3/32\n    host: x\n",
        ] {
            let faults = faults(text);
            assert!(faults[0].contains("before the closing bracket; an empty [] is removed"), "{text}: {faults:?}");
        }
        for text in ["a: [1]\nb: {\n", "a:\n  - b\n c: [\n"] {
            assert!(!faults(text)[0].contains("bracket;"), "{text}");
        }
    }

    #[test]
    fn faults_that_do_not_end_the_reading_are_all_reported() {
        assert_eq!(faults("a: &x 1\nb: !y 2\na: 3\n").len(), 3);
    }

    #[test]
    fn an_empty_document_is_nothing_and_no_fault() {
        for text in ["", "# only a comment\n", "\n\n"] {
            let parsed = parse(text.as_bytes());
            assert_eq!((parsed.root, parsed.faults), (None, vec![]), "{text:?}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(faults(&nested(MAX_DEPTH)), Vec::<String>::new());
        assert!(faults(&nested(MAX_DEPTH + 1))[0].contains("16 levels"));
        for unit in ["[", "{", "- ", "? ", "a: ", "\"", "&a ", "!", "{a: [", "|\n", "--- "] {
            let _ = parse(unit.repeat(20_000).as_bytes());
        }
        assert!(parse(&vec![b' '; MAX_BYTES + 1]).faults[0].message.contains("at most 4194304"));
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_refused_at_its_line() {
        let parsed = parse(b"a: 1\nb: \xff\n");
        assert_eq!(parsed.faults[0].line, 2);
        assert_eq!(parsed.root, None);
    }

    #[test]
    fn a_misspelling_finds_the_name_that_was_meant() {
        assert_eq!(nearest("prots", &["host", "ports", "paths"]), Some("ports"));
        assert_eq!(nearest("zzz", &["host", "ports"]), None);
    }
}
