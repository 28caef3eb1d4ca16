//! The webhook: puts the sidecar into pods of labelled namespaces, and keeps pods out that would go without it.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod admission;
pub mod certificate;
pub mod cluster;
pub mod config;
pub mod decision;
pub mod health;
pub mod mode;
pub mod names;
pub mod namespace;
pub mod namespaces;
pub mod pod;
pub mod reason;
pub mod rendering;
pub mod renderings;
pub mod resources;
pub mod situation;
