//! The sidecar: a forward proxy that lets a program reach what its policy lists, and nothing else.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod address;
pub mod check;
pub mod destination;
pub mod policy;
pub mod refusal;
