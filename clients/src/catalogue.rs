//! Every client of the table, in its order.

mod jvm;
mod languages;
mod node;
mod python;
mod tools;

use crate::client::{Client, Version};

/// All clients.
pub(crate) fn clients() -> impl Iterator<Item = Client> {
    [tools::CLIENTS, python::CLIENTS, node::CLIENTS, jvm::CLIENTS, languages::CLIENTS].into_iter().flatten().copied()
}

/// A client that can stream.
const fn client(name: &'static str, version: Version, command: &'static [&'static str]) -> Client {
    Client { name, version, command, streams: true, probed: false, slow: false, remedy: "" }
}

impl Client {
    /// The same for one that has nothing to stream.
    const fn whole(self) -> Self {
        Self { streams: false, ..self }
    }

    /// The same for one whose reading of `NO_PROXY` is of interest.
    const fn probed(self) -> Self {
        Self { probed: true, ..self }
    }

    /// The same for one that takes long.
    const fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    /// The same with a reason and what helps.
    const fn remedy(self, remedy: &'static str) -> Self {
        Self { remedy, ..self }
    }
}
