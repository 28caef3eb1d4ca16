//! The text of a policy file, and where something can be put into it: behind the last line of a list, or before the bracket
//! that closes one. It takes nothing out but the brackets of an empty list that gets lines.

use std::ops::Range;

use sandgate_policy::yaml::{Node, Value};

use super::addition::{Additions, NewEntry};
use super::document::INDENT;
use super::fragment::{self, Form};

/// A change of the text: what is taken out, and what comes in its place.
pub(super) struct Edit {
    at: Range<usize>,
    text: String,
}

/// The text that is there.
pub(super) struct Source<'a> {
    text: &'a str,
    /// Where each character begins, in bytes, and the end; empty where each has one.
    starts: Vec<usize>,
    line_break: &'static str,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let starts = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(start, _)| start).chain([text.len()]).collect(),
        };
        let line_break = match text.find(['\r', '\n']) {
            Some(at) if text[at..].starts_with("\r\n") => "\r\n",
            Some(at) if text[at..].starts_with('\r') => "\r",
            _ => "\n",
        };
        Self { text, starts, line_break }
    }

    fn byte(&self, character: usize) -> usize {
        self.starts.get(character).copied().unwrap_or(character).min(self.text.len())
    }

    /// The node in bytes, without what may stand behind it.
    fn span(&self, node: &Node) -> Range<usize> {
        self.byte(node.span.start)..self.byte(node.span.end)
    }

    /// The text with the changes, which are in its order.
    pub(super) fn with(&self, edits: Vec<Edit>) -> String {
        let mut text = String::with_capacity(self.text.len() + edits.iter().map(|edit| edit.text.len()).sum::<usize>());
        let mut done = 0;
        for edit in edits {
            text.push_str(&self.text[done..edit.at.start]);
            text.push_str(&edit.text);
            done = edit.at.end;
        }
        text + &self.text[done..]
    }

    pub(super) fn destinations(&self, list: &Node, additions: &Additions) -> Vec<Edit> {
        let new = &additions.destinations;
        if new.is_empty() {
            return Vec::new();
        }
        let lines = |indent: &str| {
            let mut lines = Vec::new();
            for new in new {
                fragment::destination(new, indent, &mut lines);
            }
            lines
        };
        if let Some(edits) = self.in_place_of_brackets(list, &lines) {
            return edits;
        }
        vec![match self.bracket(list) {
            Some(bracket) => self.in_brackets(list, bracket, new.iter().map(fragment::destination_in_braces).collect()),
            None => self.behind(list, &lines),
        }]
    }

    pub(super) fn entries(&self, list: &Node, new: &[NewEntry]) -> Edit {
        let Some(bracket) = self.bracket(list) else {
            return self.behind(list, &|indent| {
                let mut lines = Vec::new();
                for new in new {
                    fragment::entry(&new.entry, indent, &mut lines);
                }
                lines
            });
        };
        self.in_brackets(list, bracket, new.iter().map(|new| fragment::entry_in_braces(&new.entry)).collect())
    }

    /// The place of the closing bracket, where the list has one.
    fn bracket(&self, list: &Node) -> Option<usize> {
        let span = self.span(list);
        self.text[span.clone()].starts_with('[').then(|| span.end - 1)
    }

    /// How the list is written.
    pub(super) fn form(&self, list: &Node) -> Form {
        match self.bracket(list) {
            Some(_) => Form::Brackets,
            None => Form::Lines(self.dash(list, self.span(list).start).to_owned()),
        }
    }

    /// An empty list in brackets becomes one in lines.
    fn in_place_of_brackets(&self, list: &Node, lines: &dyn Fn(&str) -> Vec<String>) -> Option<Vec<Edit>> {
        let span = self.span(list);
        let before = &self.text[self.line_start(span.start)..span.start];
        let is_alone = &self.text[span.clone()] == "[]" && before == "destinations: ";
        let end = self.line_end(span.end);
        let rest = self.text[span.end..end].trim();
        if !is_alone || !(rest.is_empty() || rest.starts_with('#')) {
            return None;
        }
        // Without the blank before it, unless a comment follows.
        let start = if rest.is_empty() { span.start - 1 } else { span.start };
        let removed = Edit { at: start..span.end, text: String::new() };
        Some(vec![removed, Edit { at: end..end, text: self.lines_behind(&lines(INDENT)) }])
    }

    /// Adds items before a closing bracket, each on a line of its own.
    fn in_brackets(&self, list: &Node, bracket: usize, items: Vec<(String, String)>) -> Edit {
        let start = self.line_start(bracket);
        let is_first = self.text[start..bracket].trim().is_empty();
        let line = &self.text[self.line_start(self.span(list).start)..];
        let indent = &line[..line.len() - line.trim_start_matches([' ', '-']).len()].replace('-', " ");
        let mut needs_comma = self.needs_comma(list, bracket);
        let mut text = String::new();
        for (item, comment) in items {
            let comma = if std::mem::replace(&mut needs_comma, true) { ", " } else { "" };
            let line = [indent, "    ", comma, &item, "  # ", &comment].concat();
            let (before, behind) = if is_first { ("", self.line_break) } else { (self.line_break, "") };
            text.extend([before, &line, behind]);
        }
        if is_first {
            return Edit { at: start..start, text };
        }
        text.extend([self.line_break, indent, "  "]);
        Edit { at: bracket..bracket, text }
    }

    /// Whether the list has items, and no comma behind the last one.
    fn needs_comma(&self, list: &Node, bracket: usize) -> bool {
        let Value::Sequence(items) = &list.value else { return false };
        let Some(last) = items.last() else { return false };
        let mut rest = &self.text[self.span(last).end..bracket];
        loop {
            rest = rest.trim_start();
            match rest.chars().next() {
                Some('#') => rest = rest.find(['\r', '\n']).map_or("", |end| &rest[end..]),
                Some(',') => return false,
                _ => return true,
            }
        }
    }

    /// Adds lines behind the last item of a list in lines, and the comments that belong to it.
    fn behind(&self, list: &Node, lines: &dyn Fn(&str) -> Vec<String>) -> Edit {
        let span = self.span(list);
        let dash = self.dash(list, span.start);
        let end = span.start + self.text[span].trim_end().len();
        let mut end = self.line_end(end);
        while let Some(next) = self.next_line(end) {
            let line = &self.text[next..self.line_end(next)];
            let text = line.trim_start_matches(' ');
            if !text.starts_with('#') || line.len() - text.len() <= dash.len() {
                break;
            }
            end = self.line_end(next);
        }
        Edit { at: end..end, text: self.lines_behind(&lines(dash)) }
    }

    /// The blanks before the first dash of a list in lines.
    fn dash(&self, list: &Node, start: usize) -> &'a str {
        let first = match &list.value {
            Value::Sequence(items) => items.first().map_or(start, |item| self.span(item).start),
            _ => start,
        };
        let mut line = self.line_start(first);
        loop {
            let text = &self.text[line..];
            let blanks = &text[..text.len() - text.trim_start_matches(' ').len()];
            if text[blanks.len()..].starts_with('-') || line == 0 {
                return blanks;
            }
            line = self.line_start(line - 1);
        }
    }

    pub(super) fn comments(&self, lines: Vec<String>) -> Option<Edit> {
        let end = self.text.len();
        let is_whole = self.text.ends_with(['\r', '\n']);
        let text = match is_whole {
            true => lines.join(self.line_break) + self.line_break,
            false => self.lines_behind(&lines),
        };
        (!lines.is_empty()).then_some(Edit { at: end..end, text })
    }

    fn lines_behind(&self, lines: &[String]) -> String {
        self.line_break.to_owned() + &lines.join(self.line_break)
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind(['\r', '\n']).map_or(0, |end| end + 1)
    }

    /// The end of the line without its break.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find(['\r', '\n']).map_or(self.text.len(), |end| at + end)
    }

    /// The start of the line behind the break at `end`, if there is one.
    fn next_line(&self, end: usize) -> Option<usize> {
        let rest = &self.text[end..];
        let length = if rest.starts_with("\r\n") { 2 } else { 1 };
        (!rest.is_empty()).then_some(end + length)
    }
}
