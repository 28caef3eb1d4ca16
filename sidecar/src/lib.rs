//! The sidecar: a forward proxy that lets a program reach what its policy lists, and nothing else.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod admin;
pub mod ahead;
pub mod audit;
pub mod authority;
pub mod body;
pub mod check;
pub mod cli;
pub mod descriptors;
pub mod enforcement;
pub mod engine;
pub mod environment;
pub mod exchange;
pub mod expect;
pub mod fields;
pub mod file;
pub mod forward;
pub mod intercept;
pub mod leaf;
pub mod learn;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod meter;
pub mod metrics;
pub mod pace;
pub mod passthrough;
pub mod program;
pub mod proxy;
pub mod refusal;
pub mod relay;
pub mod reload;
pub mod resolver;
pub mod rewind;
pub mod run;
pub mod send;
pub mod serve;
pub mod settings;
pub mod state;
pub mod summary;
pub mod target;
pub mod trust;
pub mod tunnel;
pub mod upstream;
pub mod websocket;
