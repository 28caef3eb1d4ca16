//! What clients make of `NO_PROXY` and `ALL_PROXY`: each value in turn, and which way the request went.

use std::fmt;

use crate::report::Row;
use crate::stage::Attempt;

/// One value of the variables.
pub(crate) struct Exception {
    /// The column of the table.
    heading: &'static str,
    /// `NO_PROXY`; without one, `ALL_PROXY` stands alone.
    pub(crate) no_proxy: Option<&'static str>,
    /// Whether the host is asked by its address, which is in 10.77.0.0/16.
    pub(crate) by_address: bool,
}

const fn no_proxy(value: &'static str) -> Exception {
    Exception { heading: value, no_proxy: Some(value), by_address: false }
}

/// All values, in the order of the columns.
pub(crate) const EXCEPTIONS: [Exception; 8] = [
    no_proxy("origin.test"),
    no_proxy(".test"),
    no_proxy("test"),
    no_proxy("*.test"),
    no_proxy("origin.test:443"),
    no_proxy("origin.test:8443"),
    Exception { heading: "10.77.0.0/16", no_proxy: Some("10.77.0.0/16"), by_address: true },
    Exception { heading: "ALL_PROXY alone", no_proxy: None, by_address: false },
];

/// Which way a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Around the proxy.
    Direct,
    /// By way of the proxy.
    Proxy,
    /// Nowhere.
    Neither,
}

impl Way {
    /// The way of an attempt.
    pub(crate) fn of(attempt: &Attempt) -> Self {
        match attempt {
            Attempt { strays, .. } if strays.connections > 0 => Self::Direct,
            Attempt { success: true, .. } | Attempt { refused: true, .. } => Self::Proxy,
            _ => Self::Neither,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Proxy => "proxy",
            Self::Neither => "neither",
        })
    }
}

/// The table for the page.
pub(crate) fn table(rows: &[Row]) -> String {
    let headings: Vec<_> = EXCEPTIONS.iter().map(|exception| format!("`{}`", exception.heading)).collect();
    let mut table = format!("| client | {} |\n|{}\n", headings.join(" | "), "---|".repeat(headings.len() + 1));
    for row in rows.iter().filter(|row| !row.ways.is_empty()) {
        let ways: Vec<_> = row.ways.iter().map(ToString::to_string).collect();
        table.push_str(&format!("| {} | {} |\n", row.client.name, ways.join(" | ")));
    }
    table
}
