//! The webhook against a real API server: certificates, renderings, namespaces, with deadlines in place of pauses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod certificate;
mod files;
mod namespaces;
mod outage;
mod renderings;
mod reviews;
mod rights;
mod rotation;
mod scene;
mod secret;
mod version;
