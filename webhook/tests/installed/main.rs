//! All of it together: manifests/base applied to a real API server, and the program serving there with the rights that
//! the manifests give it. What people get who build pods, edit policies or look for a way around.

#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod cluster;
mod debugging;
mod example;
mod policies;
mod table;
