//! The sidecar: a forward proxy that lets a program reach what its policy lists, and nothing else.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod address;
pub mod admin;
pub mod audit;
pub mod authority;
pub mod check;
pub mod cli;
pub mod destination;
pub mod healthcheck;
pub mod leaf;
pub mod logging;
pub mod metrics;
pub mod policy;
pub mod process;
pub mod refusal;
pub mod run;
pub mod serve;
pub mod settings;
pub mod summary;
pub mod trust;
