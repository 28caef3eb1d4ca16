//! A client and what it is asked to do.

use std::fmt;

/// One client of the table: a program that somebody else wrote, and what people have to know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// What people call it; unique.
    pub(crate) name: &'static str,
    /// Where the table says its version from.
    pub(crate) version: Version,
    /// What is run, with `get` or `stream` and the base URL behind it. Words that start with `programs/` are files of
    /// ours.
    pub(crate) command: &'static [&'static str],
    /// Whether it can show a response while that arrives.
    pub(crate) streams: bool,
    /// Whether it is asked what it makes of `NO_PROXY` and `ALL_PROXY`.
    pub(crate) probed: bool,
    /// Whether it takes more than ten seconds.
    pub(crate) slow: bool,
    /// Why it does not work as it is, and the setting or line of code that helps; empty where it does.
    pub(crate) remedy: &'static str,
}

/// Where a client's version stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    /// In `versions.txt`: registry and package.
    Pinned(&'static str, &'static str),
    /// In what a command prints.
    Printed(&'static [&'static str]),
}

impl Client {
    /// What it is asked to do, in this order.
    pub(crate) fn scenarios(&self) -> impl Iterator<Item = Scenario> {
        let streams = self.streams;
        Scenario::ALL.into_iter().filter(move |scenario| *scenario != Scenario::Stream || streams)
    }
}

/// Something that a client is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// Get something of a host that the policy lists.
    Listed,
    /// Show a response of that host while it arrives.
    Stream,
    /// Get something of a host that the policy does not list.
    Unlisted,
    /// Get something of a host for which the policy lists other paths.
    Path,
}

impl Scenario {
    /// All, in the order of the table's columns.
    pub(crate) const ALL: [Self; 4] = [Self::Listed, Self::Stream, Self::Unlisted, Self::Path];

    /// The host that is asked.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Listed | Self::Stream => "origin.test",
            Self::Unlisted => "other.test",
            Self::Path => "api.origin.test",
        }
    }

    /// The first argument of the program.
    pub(crate) fn verb(self) -> &'static str {
        if self == Self::Stream { "stream" } else { "get" }
    }

    /// What has to be on standard output where it works.
    pub(crate) fn expected(self) -> &'static str {
        if self == Self::Stream { "event 2" } else { "Keep it logically awesome." }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Listed => "a listed host",
            Self::Stream => "a stream",
            Self::Unlisted => "an unlisted host",
            Self::Path => "an unlisted path",
        })
    }
}
