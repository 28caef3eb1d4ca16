//! The sidecar: a forward proxy that lets a program reach what its policy lists, and nothing else.
//!
//! ARCHITECTURE.md has the flow and the map of these modules.

pub mod address;
pub mod admin;
pub mod audit;
pub mod body;
pub mod destination;
pub mod enforcement;
pub mod exchange;
pub mod expect;
pub mod logging;
pub mod healthcheck;
pub mod metrics;
pub mod policy;
pub mod process;
pub mod authority;
pub mod destination;
pub mod leaf;
pub mod refusal;
pub mod resolver;
pub mod settings;
pub mod trust;
pub mod upstream;
pub mod engine;
pub mod fields;
pub mod forward;
pub mod intercept;
pub mod leaf;
pub mod authority;
pub mod ledger;
pub mod limits;
pub mod meter;
pub mod passthrough;
pub mod proxy;
pub mod relay;
pub mod rewind;
pub mod send;
pub mod target;
pub mod tunnel;
pub mod websocket;
