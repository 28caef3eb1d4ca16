//! Reads the entries of `allow` and `deny`.

use http::Method;

use crate::access::Entry;
use crate::fields::Field;
use crate::glob::Glob;
use crate::problem::Problems;

/// Reads the items of one list.
pub(crate) fn read(items: &[Field<'_>], problems: &mut Problems) -> Vec<Entry> {
    items.iter().filter_map(|item| entry(item, problems)).collect()
}

fn entry(field: &Field<'_>, problems: &mut Problems) -> Option<Entry> {
    let fields = field.mapping(problems, &["methods", "paths"])?;
    let (methods, paths) = (fields.get("methods"), fields.get("paths"));
    if methods.is_none() && paths.is_none() {
        field.refuse(problems, "names neither methods nor paths; write at least one of them");
    }
    let why = "it would match nothing; remove it to match all";
    let methods = methods.map(|list| {
        let items = list.filled_list(problems, why);
        items.iter().filter_map(|item| item.parse(problems, method)).collect()
    });
    let paths = paths.map(|list| {
        let items = list.filled_list(problems, why);
        items.iter().filter_map(|item| item.parse(problems, Glob::parse)).collect()
    });
    Some(Entry { line: fields.line(), methods, paths })
}

fn method(text: &str) -> Result<Method, String> {
    if text == "*" {
        return Err("* is not a method; remove methods to match all of them".to_owned());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is not a method; write a token such as GET"))
}
