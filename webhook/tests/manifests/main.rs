//! manifests/ as kustomize builds it: valid for Kubernetes and for checkov, in accord with the code, and on a real API
//! server what it is said to be.

#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod applied;
mod builds;
mod called;
mod example;
mod monitoring;
mod schemas;
mod shape;
