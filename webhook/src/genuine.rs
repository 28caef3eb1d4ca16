//! Is the sidecar of a pod one that we made? Decided by its content, field by field, and never by a name, label or
//! annotation that a user can write.

use sandgate_contract::CONTAINER_NAME;
use serde_json::Value;

use crate::pod::{self, List};
use crate::rendering::Rendering;
use crate::situation::Situation;

/// What the container with the sidecar's name is.
#[derive(Clone, Debug, PartialEq)]
pub enum Genuine<'a> {
    /// There is none, in any list.
    Absent,
    /// What this configuration makes, with the volumes, at this place among the init containers.
    Current {
        /// The place in `initContainers`.
        index: usize,
    },
    /// What an earlier configuration made that is still accepted, or with an image of `sidecar.acceptedImages`.
    Accepted {
        /// The place in `initContainers`.
        index: usize,
        /// The rendering that it is equal to, but for an accepted image.
        rendering: &'a Rendering,
    },
    /// An init container with an image of ours, and other content: what a restored or copied pod brings along.
    Ours {
        /// The place in `initContainers`.
        index: usize,
        /// The field that differs, and both values.
        difference: String,
    },
    /// Somebody else's container with our name, or more than one.
    Foreign {
        /// Where it stands, for people.
        place: String,
        /// The field that differs, and both values.
        difference: String,
    },
}

impl Genuine<'_> {
    /// The place among the init containers, where it is of ours at all.
    #[must_use]
    pub const fn index(&self) -> Option<usize> {
        match self {
            Self::Current { index } | Self::Accepted { index, .. } | Self::Ours { index, .. } => Some(*index),
            Self::Absent | Self::Foreign { .. } => None,
        }
    }
}

/// What the container with the sidecar's name is, in all lists of `pod`.
#[must_use]
pub fn sidecar<'a>(situation: &Situation<'a>, pod: &Value) -> Genuine<'a> {
    let none = Value::Null;
    let spec = pod.get("spec").unwrap_or(&none);
    let mut named = pod::containers(spec).filter(|container| container.name() == CONTAINER_NAME);
    let Some(container) = named.next() else { return Genuine::Absent };
    let foreign = |difference: String| Genuine::Foreign { place: container.place(), difference };
    if let Some(second) = named.next() {
        return foreign(format!("{} has the same name", second.place()));
    }
    if container.list != List::Init {
        return foreign(format!("it stands in {} instead of initContainers", container.list.field()));
    }
    let index = container.index;
    if container.json == &situation.rendering.container {
        return Genuine::Current { index };
    }
    Genuine::Ours { index, difference: String::new() }
}
