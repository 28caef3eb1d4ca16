//! The webhook: puts the sidecar into pods of labelled namespaces, and keeps pods out that would go without it.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod admin;
pub mod admission;
pub mod certificate;
pub mod clash;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod decision;
pub mod documents;
pub mod endpoints;
pub mod evasion;
pub mod explain;
pub mod genuine;
pub mod health;
pub mod inject;
pub mod metrics;
pub mod mode;
pub mod mutate;
pub mod name_servers;
pub mod names;
pub mod namespace;
pub mod namespaces;
pub mod offline;
pub mod patch;
pub mod plan;
pub mod pod;
pub mod policies;
pub mod program;
pub mod reason;
pub mod rendering;
pub mod renderings;
pub mod report;
pub mod resources;
pub mod serve;
pub mod server;
pub mod situation;
pub mod template;
pub mod unread;
pub mod validate;
pub mod workload;

#[cfg(test)]
mod logged;
#[cfg(test)]
mod sample;
