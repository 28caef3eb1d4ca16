//! The whole thing as an admin has it: a real API server, the manifests applied, and the program `sandgate-webhook serve`
//! behind the manifests' Service with the rights of its ServiceAccount. There is no kubelet, and no controller.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod answer;
mod ca_mode;
mod calls;
mod debugging;
mod example;
mod failures;
mod kubectl;
mod modes;
mod namespaces;
mod neighbour;
mod policies;
mod program;
mod reinvocation;
mod resources;
mod restricted;
mod rollout;
mod running;
mod sandboxes;
mod service;
mod stage;
mod templates;
