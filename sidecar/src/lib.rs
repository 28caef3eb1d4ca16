//! The sidecar: a forward proxy that lets a program reach what its policy lists, and nothing else.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod admin;
pub mod audit;
pub mod destination;
pub mod healthcheck;
pub mod metrics;
pub mod refusal;
