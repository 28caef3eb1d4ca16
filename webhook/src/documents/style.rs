//! How values are written: every text quoted where a reader could take it for something else, and several lines as a
//! block where every reader takes the same from it.

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::LitStr;

/// A value that is written with a style for each of its texts.
pub(super) struct Styled<'a>(pub(super) &'a Value);

impl Serialize for Styled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if is_block(text) => LitStr(text).serialize(serializer),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Styled(item)))?;
                list.end()
            }
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, &Styled(value)))?;
                map.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

/// Whether a text is written as a block: several lines of plain characters. Where the first line begins with white
/// space, go-yaml and others disagree about the block's indentation.
fn is_block(text: &str) -> bool {
    let plain = |c: char| {
        matches!(c, '\n' | '\t')
            || !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    text.contains('\n') && !text.starts_with(char::is_whitespace) && text.chars().all(plain)
}
