//! What the two long-running programs, sidecar and webhook, have in common: how they are started, watched and ended.
//!
//! Nothing here knows of policies, pods or certificates, and nothing here decides who may go where.

pub mod backlog;
pub mod command_line;
pub mod ends;
pub mod health_port;
pub mod healthcheck;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod open_files;
pub mod watches;
