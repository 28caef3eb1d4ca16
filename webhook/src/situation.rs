//! What a decision is made from, apart from the object itself: the call's mode, the namespace, and what we make.

use crate::config::Config;
use crate::mode::Mode;
use crate::namespace::Namespace;
use crate::rendering::Rendering;

/// Everything that a decision looks at beside the object. Borrowed, so that one consistent view serves one review.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What the namespace's label says, by the path of the call.
    pub mode: Mode,
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The configuration in force.
    pub config: &'a Config,
    /// What this configuration makes.
    pub rendering: &'a Rendering,
    /// Earlier renderings that are still genuine, the current one not among them.
    pub accepted: &'a [Rendering],
}
