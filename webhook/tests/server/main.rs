//! The server over real TLS: protocols, bad input, hostile peers, and its end.

#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod drain;
mod floods;
mod harness;
mod input;
mod odd_pods;
mod process;
mod protocols;
