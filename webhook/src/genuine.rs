//! Is the sidecar of a pod one that we made? Decided by its content, field by field, and never by a name, label or
//! annotation that a user can write.

mod defaults;
mod difference;
mod resources;
mod tolerated;
mod volumes;

use sandgate_contract::CONTAINER_NAME;
use serde_json::Value;

use crate::names::TRUST_VOLUME;
use crate::pod::{self, Container, List};
use crate::rendering::Rendering;
use crate::situation::Situation;

use difference::{Fields, same};

/// What the container with the sidecar's name is.
#[derive(Clone, Debug, PartialEq)]
pub enum Genuine<'a> {
    /// There is none, in any list.
    Absent,
    /// What this configuration makes, with its volumes, at this place among the init containers. Which place is right is
    /// not asked here: before it stand only `sidecar.mayPrecede`, which `validate` checks.
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
    /// One init container with an image of ours, and other content: what a restored or copied pod brings along.
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

    /// Whether `container` is the sidecar, of ours.
    #[must_use]
    pub fn is(&self, container: &Container<'_>) -> bool {
        container.list == List::Init && self.index() == Some(container.index)
    }
}

/// When a pod is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// While it is created: policy and resources are what they have to be now.
    Creation,
    /// While it runs: the namespace's policy may have got another name since, and the resources may have been resized.
    Running,
}

/// What the container with the sidecar's name is, in all lists of a `pod` that is created.
#[must_use]
pub fn sidecar<'a>(situation: &Situation<'a>, pod: &Value) -> Genuine<'a> {
    verdict(situation, pod, Moment::Creation)
}

/// The same in a pod that is running, for its ephemeral containers and for `report`: what may differ since it was created
/// is not compared, namely the name of the policy's ConfigMap and the sidecar's resources.
#[must_use]
pub fn running_sidecar<'a>(situation: &Situation<'a>, pod: &Value) -> Genuine<'a> {
    verdict(situation, pod, Moment::Running)
}

fn verdict<'a>(situation: &Situation<'a>, pod: &Value, moment: Moment) -> Genuine<'a> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
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
    let image = pod::text(container.json, "/image").unwrap_or_default();
    let examined = Examined::new(situation, pod, container.json, moment);
    let difference = match examined.difference(situation.rendering) {
        None if pod::text(&situation.rendering.container, "/image") == Some(image) => {
            return Genuine::Current { index };
        }
        None => return Genuine::Accepted { index, rendering: situation.rendering },
        Some(difference) => difference,
    };
    // Few are equal, so that the hash of few has to be made.
    let is_equal = |made: &&Rendering| examined.difference(made).is_none() && !is_withdrawn(situation, made);
    if let Some(rendering) = situation.accepted.iter().find(is_equal) {
        return Genuine::Accepted { index, rendering };
    }
    if is_ours(situation, image) { Genuine::Ours { index, difference } } else { foreign(difference) }
}

/// The mounts of the trust files that containers get, by this configuration or an earlier one.
pub(crate) struct TrustMounts<'a> {
    /// Each once, for all renderings make the same: a pod may have thousands of mounts.
    made: Vec<&'a Value>,
}

impl<'a> TrustMounts<'a> {
    pub(crate) fn new(situation: &Situation<'a>) -> Self {
        let mut made = vec![&situation.rendering.trust_mount];
        for mount in situation.accepted.iter().map(|rendering| &rendering.trust_mount) {
            if !made.contains(&mount) {
                made.push(mount);
            }
        }
        Self { made }
    }

    /// Whether `mount` is one.
    pub(crate) fn has(&self, mount: &Value) -> bool {
        pod::text(mount, "/name") == Some(TRUST_VOLUME)
            && self.made.iter().any(|made| same("volumeMounts", made, mount))
    }
}

/// A pod's sidecar and what belongs to it, to be compared with one rendering after another: what is the same for all of
/// them is looked at once.
struct Examined<'e> {
    situation: &'e Situation<'e>,
    pod: &'e Value,
    container: &'e Value,
    volumes: volumes::Named<'e>,
    moment: Moment,
}

impl<'e> Examined<'e> {
    fn new(situation: &'e Situation<'e>, pod: &'e Value, container: &'e Value, moment: Moment) -> Self {
        Self { situation, pod, container, volumes: volumes::Named::of(pod), moment }
    }

    /// The first field in which the sidecar or one of our volumes is not what `rendering` makes.
    fn difference(&self, rendering: &Rendering) -> Option<String> {
        let none = Fields::new();
        let expected = rendering.container.as_object().filter(|fields| !fields.is_empty());
        let (Some(expected), found) = (expected, self.container.as_object().unwrap_or(&none)) else {
            return Some("nothing is genuine by a rendering without a container".to_owned());
        };
        let instead =
            tolerated::without(&self.situation.config.sidecar, &rendering.container, self.pod, self.container);
        difference::fields("", "", expected, found, &instead).or_else(|| self.around(rendering))
    }

    /// The same of our volumes, and of the sidecar's resources.
    fn around(&self, rendering: &Rendering) -> Option<String> {
        // Another configuration's pods have its default policy and resources, not ours.
        let is_other = !std::ptr::eq(rendering, self.situation.rendering);
        let other = is_other.then(|| rendering.config(self.situation.config));
        let situation = Situation { config: other.as_ref().unwrap_or(self.situation.config), ..*self.situation };
        let policy = volumes::policy(&situation, self.pod, self.moment);
        self.volumes.difference(&rendering.volumes(&policy)).or_else(|| match self.moment {
            Moment::Creation => resources::difference(&situation, self.pod, self.container),
            Moment::Running => None,
        })
    }
}

fn is_withdrawn(situation: &Situation<'_>, rendering: &Rendering) -> bool {
    let withdrawn = &situation.config.sidecar.withdrawn_renderings;
    !withdrawn.is_empty() && withdrawn.contains(&rendering.hash())
}

/// Whether `image` is one that a sidecar of ours has, had or will have: by its name, or by the configured repository.
/// It says no more than whose container to take out and make anew.
fn is_ours(situation: &Situation<'_>, image: &str) -> bool {
    let sidecar = &situation.config.sidecar;
    let rendered = situation.accepted.iter().chain([situation.rendering]);
    let mut images = rendered.filter_map(|rendering| pod::text(&rendering.container, "/image"));
    image == sidecar.image
        || sidecar.accepted_images.iter().any(|accepted| accepted == image)
        || images.any(|rendered| rendered == image)
        || repository(image) == repository(&sidecar.image)
}

/// An image's name without tag and digest: `host:5000/path/name`.
fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests;
