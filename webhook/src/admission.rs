//! AdmissionReview v1 as JSON: reading a review strictly, and writing the answer.
//!
//! The objects in it stay as they came. Nothing here decides.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::decision::Decision;

/// What the API server asks (`admission.k8s.io/v1` AdmissionRequest), as far as we look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The review's identifier, given back in the answer.
    pub uid: String,
    /// `group/version/kind` of the object; `v1/Pod` for the core group.
    pub kind: String,
    /// The resource, `pods`.
    pub resource: String,
    /// The subresource, `ephemeralcontainers`; empty for none.
    pub sub_resource: String,
    /// The namespace; empty where there is none.
    pub namespace: String,
    /// The name; empty while the API server has not generated it.
    pub name: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Whether nothing is stored. Nothing we do has a side effect, so it changes nothing.
    pub dry_run: bool,
    /// The object; null on DELETE.
    pub object: Value,
    /// The object before; null on CREATE.
    pub old_object: Value,
}

/// Why a body is no review that can be answered under its own identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadReview {
    /// The identifier, where one could be read: then the answer is a denial that carries it, else a 400.
    pub uid: Option<String>,
    /// What is wrong, naming the field.
    pub message: String,
}

/// An answer: the decision, and what goes with it.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The review's identifier.
    pub uid: &'a str,
    /// The decision.
    pub decision: &'a Decision,
    /// Audit annotations; the API server puts the webhook's name before each key.
    pub audit: BTreeMap<&'static str, String>,
}
