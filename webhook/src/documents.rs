//! Files of Kubernetes objects, YAML or JSON, several documents in one: read as Kubernetes reads them, and written so
//! that every reader takes the same from them. Comments and anchors do not survive, values and the order of keys do.

mod json;
mod scalar;
mod style;
mod tree;

use std::fmt;

use serde_json::Value;

use self::style::Styled;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 100;
/// How many values aliases may add to a file: a few lines of them can stand for any number.
pub const MAX_ALIASED: usize = 100_000;

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The line on which it starts, from 1.
    pub line: usize,
    /// The object: always a JSON object.
    pub value: Value,
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for Fault {}

/// Reads every document; those that are empty or hold comments alone are left out.
///
/// Scalars mean what they mean to Kubernetes (sigs.k8s.io/yaml, which is YAML 1.1 without its base 60): `yes` and `on`
/// are true, `012` is ten, a date is a text. Aliases and merge keys are written out; a key that stands twice, a tag and
/// what is no object are faults.
///
/// # Errors
/// The first fault.
pub fn read(text: &[u8]) -> Result<Vec<Document>, Fault> {
    let text = decode(text)?;
    // What begins like JSON may still be YAML's flow style; then YAML's fault is the one to report.
    let documents = match json::read(text) {
        Some(result) => result?,
        None => tree::read(text)?,
    };
    documents
        .into_iter()
        .filter(|document| !document.value.is_null())
        .map(|document| match document.value {
            Value::Object(_) => Ok(document),
            other => Err(Fault::new(
                document.line,
                format!("expected an object with apiVersion and kind, found {}", shape(&other)),
            )),
        })
        .collect()
}

/// Writes objects as documents of one file, in block style, as kubectl does. A text that any reader of YAML 1.1 or 1.2
/// could take for something else is quoted.
///
/// # Errors
/// When the writer fails; no JSON is known for which it does.
pub fn write<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Result<String, serde_saphyr::ser_error::Error> {
    // Long texts stay on one line: folded, they are hard to compare and to search.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut text = String::new();
    for object in objects {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string_with_options(&Styled(object), options.clone())?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

fn decode(text: &[u8]) -> Result<&str, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::new(1, format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len())));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = line_at(text, error.valid_up_to());
        Fault::new(line, "the file is not UTF-8 from here on; save it as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The line, from 1, of a place in a text.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::String(_) => "a text",
        Value::Bool(_) | Value::Number(_) | Value::Null => "a single value",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(text: &str) -> Vec<Value> {
        read(text.as_bytes()).unwrap().into_iter().map(|document| document.value).collect()
    }

    fn fault(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn documents_know_their_lines_and_empty_ones_are_left_out() {
        let text = "# a comment\n---\na: 1\n---\n# nothing\n---\n\nb: 2\n...\n---\n";
        let lines: Vec<_> = read(text.as_bytes()).unwrap().into_iter().map(|document| document.line).collect();
        assert_eq!(lines, [3, 8]);
        assert_eq!(values(text), [json!({"a": 1}), json!({"b": 2})]);
        assert_eq!(values(""), Vec::<Value>::new());
        assert_eq!(values("---\n---\n"), Vec::<Value>::new());
    }

    #[test]
    fn json_is_read_as_json_also_many_objects_in_a_row() {
        assert_eq!(values("{\"a\": \"\\ud83d\\ude00\"}\n\n{\"b\":\t1.0}"), [json!({"a": "😀"}), json!({"b": 1.0})]);
        assert_eq!(values("{a: yes}"), [json!({"a": true})]);
        assert_eq!(values("{\"a\": 1}\n---\nb: 2\n"), [json!({"a": 1}), json!({"b": 2})]);
        assert_eq!(fault("{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}"), "line 2: the key \"c\" stands twice");
    }

    #[test]
    fn the_order_of_keys_is_kept() {
        let value = values("z: 1\na: {x: 1, b: 2}\nm: 3\n").remove(0);
        assert_eq!(value.to_string(), r#"{"z":1,"a":{"x":1,"b":2},"m":3}"#);
        assert_eq!(write([&value]).unwrap(), "z: 1\na:\n  x: 1\n  b: 2\nm: 3\n");
    }

    #[test]
    fn aliases_and_merge_keys_are_written_out() {
        let text = "base: &b {x: 1, z: [2]}\nuse: *b\nmore:\n  <<: *b\n  x: 3\nboth:\n  <<: [{x: 4}, *b]\n";
        let value = values(text).remove(0);
        assert_eq!(value["use"], json!({"x": 1, "z": [2]}));
        assert_eq!(value["more"], json!({"x": 3, "z": [2]}));
        assert_eq!(value["both"], json!({"x": 4, "z": [2]}));
    }

    #[test]
    fn what_is_broken_is_refused_with_its_line() {
        let bomb: String = (1..20).fold("a0: &a0 [x, x, x]\n".to_owned(), |text, level| {
            let before = level - 1;
            text + &format!("a{level}: &a{level} [*a{before}, *a{before}, *a{before}]\n")
        });
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" stands twice; the first is on line 1"),
            ("a: !!str 1\n", "line 1: tags"),
            ("a: 1\n b: [\n", "line 2: not valid YAML"),
            ("a: 1\n---\n- b\n", "line 3: expected an object with apiVersion and kind, found a list"),
            ("just text", "line 1: expected an object with apiVersion and kind, found a text"),
            ("a: *x\n", "line 1: not valid YAML"),
            ("a: &x [*x]\n", "line 1: an alias inside of what it stands for"),
            ("? [a]\n: 1\n", "line 1: a key has to be"),
            ("~: 1\n", "line 1: a key has to be"),
            ("a:\n  name: {{ .Values.name }}\n", "line 2: {{ }} is a template; render it first"),
            ("a: .nan\n", "line 1: .nan has no form in JSON"),
            ("a: 1\nb:\n  x: 1\n  <<: {x: 2}\n", "line 4: \"x\" stands before the merge"),
            (&format!("{}1{}", "[".repeat(200), "]".repeat(200)), "line 1: nested more than"),
            (&bomb, "line 10: aliases stand for more than"),
        ] {
            assert!(fault(text).starts_with(expected), "{text:?}: {}", fault(text));
        }
        assert_eq!(read(b"a: \xff").unwrap_err().line, 1);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let value = json!({
            "apiVersion": "v1", "empty": {}, "none": null, "list": [[], [1, [2]], {"a": {"b": ["x"]}}],
            "texts": ["", " ", "yes", "012", "0o7", "1e3", "1:30", "2001-01-01", "~", "a: b", "a #b", "x\n", "x\n\n", "\nx",
                "  x\ny", "\u{feff}\u{2028}\u{7f}\u{1}", "\t", "-", "- a", "? a", "...", "---", "%a", "😀", "\r\n", "<<", "="],
            "numbers": [0, -1, u64::MAX, i64::MIN, 0.5, 1e-7, 1e300],
            "on": 1, "012": 2, "": 3, "a\nb": 4, "<<": 5,
        });
        let text = write([&value, &json!({"second": true})]).unwrap();
        assert_eq!(values(&text), [value, json!({"second": true})], "{text}");
    }
}
