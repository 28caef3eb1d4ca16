//! YAML documents from the parser's events: aliases written out within a bound, merge keys resolved, everything that
//! readers disagree about refused.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Value};

use super::{Document, Fault, MAX_ALIASED, MAX_DEPTH, scalar};

/// Reads every document, empty ones as null.
pub(super) fn read(text: &str) -> Result<Vec<Document>, Fault> {
    let mut builder = Builder::default();
    let mut parser = Parser::new(StrInput::new(text));
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax(&error, text))?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

fn syntax(error: &ScanError, text: &str) -> Fault {
    // At the end of a file without a final line break, the parser counts one line too many.
    let line = error.marker().line().min(text.lines().count().max(1));
    Fault::new(line, format!("not valid YAML: {}", error.info()))
}

/// A finished value on its way to where it belongs.
struct Finished {
    line: usize,
    value: Value,
    /// The key of a merge, `<<` without quotes.
    merge: bool,
}

/// A list or mapping whose end has not been read.
struct Open {
    line: usize,
    /// The number of its anchor; 0 for none.
    anchor: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Value>),
    Mapping(Mapping),
}

#[derive(Default)]
struct Mapping {
    entries: Map<String, Value>,
    /// The keys that stand here themselves, with their lines; merged ones don't.
    own: HashMap<String, usize>,
    key: Option<Key>,
    merged: bool,
}

/// A key whose value has not been read.
enum Key {
    Name(String),
    Merge,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    aliased: usize,
    documents: Vec<Document>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        match event {
            Event::Alias(anchor) => {
                let value = self.aliased(anchor, line)?;
                self.add(Finished { line, value, merge: false })
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(line, tag.is_some())?;
                let plain = style == ScalarStyle::Plain;
                let value = if plain { scalar::resolve(&text) } else { Ok(text.as_ref().into()) };
                let value = value.map_err(|message| Fault::new(line, message))?;
                self.keep(anchor, &value);
                self.add(Finished { line, value, merge: plain && text == "<<" })
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(line, tag.is_some())?;
                self.enter(Open { line, anchor, kind: Kind::Sequence(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(line, tag.is_some())?;
                self.enter(Open { line, anchor, kind: Kind::Mapping(Mapping::default()) })
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn keep(&mut self, anchor: usize, value: &Value) {
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
    }

    /// The value that an alias stands for, as long as all aliases together stay within their bound.
    fn aliased(&mut self, anchor: usize, line: usize) -> Result<Value, Fault> {
        let value = self
            .anchors
            .get(&anchor)
            .ok_or_else(|| Fault::new(line, "an alias inside of what it stands for has no end; write the value out"))?;
        self.aliased += size(value);
        if self.aliased > MAX_ALIASED {
            let message =
                format!("aliases stand for more than {MAX_ALIASED} values; write them out, or split the file");
            return Err(Fault::new(line, message));
        }
        Ok(value.clone())
    }

    fn enter(&mut self, open: Open) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err(Fault::new(open.line, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.open.push(open);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Fault> {
        let Some(Open { line, anchor, kind }) = self.open.pop() else { return Ok(()) };
        let value = match kind {
            Kind::Sequence(items) => Value::Array(items),
            Kind::Mapping(mapping) => Value::Object(mapping.entries),
        };
        self.keep(anchor, &value);
        self.add(Finished { line, value, merge: false })
    }

    /// Puts a finished value where it belongs: into the list or mapping that is open, or among the documents.
    fn add(&mut self, finished: Finished) -> Result<(), Fault> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => {
                self.documents.push(Document { line: finished.line, value: finished.value });
                Ok(())
            }
            Some(Kind::Sequence(items)) => {
                items.push(finished.value);
                Ok(())
            }
            Some(Kind::Mapping(mapping)) => mapping.add(finished),
        }
    }
}

impl Mapping {
    fn add(&mut self, finished: Finished) -> Result<(), Fault> {
        match self.key.take() {
            None => {
                self.key = Some(self.read_key(finished)?);
                Ok(())
            }
            Some(Key::Name(name)) => {
                self.entries.insert(name, finished.value);
                Ok(())
            }
            Some(Key::Merge) => self.merge(finished),
        }
    }

    fn read_key(&mut self, Finished { line, value, merge }: Finished) -> Result<Key, Fault> {
        if merge {
            if self.merged {
                return Err(Fault::new(line, "a second merge key <<; name all sources in one list"));
            }
            self.merged = true;
            return Ok(Key::Merge);
        }
        if value.is_object() {
            let advice = "{{ }} is a template; render it first, with helm template say (a key is never a mapping)";
            return Err(Fault::new(line, advice));
        }
        let name = scalar::key(value).ok_or_else(|| {
            Fault::new(line, "a key has to be a text; quote a fraction or a null that is meant as one")
        })?;
        if let Some(first) = self.own.insert(name.clone(), line) {
            return Err(Fault::new(line, format!("the key {name:?} stands twice; the first is on line {first}")));
        }
        Ok(Key::Name(name))
    }

    /// What stands here itself goes before what is merged, and of several sources the first. Readers disagree about a
    /// key that stands before the merge, so that is refused.
    fn merge(&mut self, Finished { line, value, .. }: Finished) -> Result<(), Fault> {
        let sources = match value {
            Value::Array(sources) => sources,
            other => vec![other],
        };
        for source in sources {
            let Value::Object(source) = source else {
                return Err(Fault::new(line, "a merge key << takes a mapping, or a list of them"));
            };
            for (key, value) in source {
                if self.own.contains_key(&key) {
                    let message = format!("{key:?} stands before the merge that has it too; write << first");
                    return Err(Fault::new(line, message));
                }
                self.entries.entry(key).or_insert(value);
            }
        }
        Ok(())
    }
}

fn refuse_tag(line: usize, tagged: bool) -> Result<(), Fault> {
    if tagged {
        return Err(Fault::new(line, "tags (!name) are not read; remove it, or quote a text that begins with !"));
    }
    Ok(())
}

/// How many values a value is made of.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(size).sum::<usize>(),
        _ => 1,
    }
}
