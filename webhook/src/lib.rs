//! The webhook: puts the sidecar into pods of labelled namespaces, and keeps pods out that would go without it.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod admission;
pub mod clash;
pub mod config;
pub mod decision;
pub mod evasion;
pub mod genuine;
pub mod health;
pub mod mode;
pub mod mutate;
pub mod names;
pub mod namespace;
pub mod patch;
pub mod plan;
pub mod pod;
pub mod reason;
pub mod rendering;
pub mod resources;
#[cfg(test)]
mod sample;
pub mod situation;
pub mod template;
pub mod validate;
