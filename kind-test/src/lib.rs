//! What tests on a real Kubernetes are made of: any cluster that KUBECONFIG names, with Sandgate in it and the images of
//! `workloads/` on its nodes. It knows nothing of what a test wants to see.
//!
//! Functions here panic where a test could only fail.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

pub mod api;
pub mod kubectl;
pub mod node;
pub mod objects;
pub mod origins;
pub mod report;
pub mod runner;
pub mod sandgate;
pub mod space;
pub mod stage;
pub mod stream;
pub mod wait;
