//! The ValidatingAdmissionPolicies of manifests/base on a real API server, whose webhook configurations somebody has
//! deleted: what holds then, for whom, and what people read.

#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod cluster;
mod config_maps;
mod entered;
mod present;
mod unchanged;
