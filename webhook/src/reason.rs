//! Why a pod was injected, skipped or refused: one table of codes, for audit annotations, metrics and documentation.

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It gets in, with the sidecar (put in now, or found to be there).
    Injected,
    /// It gets in as it is.
    Skipped,
    /// It does not get in.
    Refused,
}

impl Outcome {
    /// The name in metrics and annotations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident, $code:literal, $outcome:ident;)+) => {
        /// Why. The code is what annotations and metrics have; it stays the same from version to version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What it leads to.
            #[must_use]
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)+ }
            }

            /// What it means, for the documentation.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// The sidecar was put into the pod.
    Injected, "injected", Injected;
    /// The pod has the sidecar of this configuration already, and nothing was left to do.
    AlreadyInjected, "already_injected", Injected;
    /// The final pod was checked and is complete.
    Verified, "verified", Injected;
    /// A new ephemeral container got the environment.
    EphemeralContainer, "ephemeral_container", Injected;

    /// The object is not one that gets the sidecar.
    NotAsked, "not_asked", Skipped;
    /// The pod says `sandgate.dev/inject: "false"` and the namespace lets it.
    OptedOut, "opted_out", Skipped;
    /// The pod asks for the sidecar in a namespace where it is disabled.
    NamespaceDisabled, "namespace_disabled", Skipped;
    /// The pod uses the node's network.
    HostNetwork, "host_network", Skipped;
    /// The pod is for Windows.
    Windows, "windows", Skipped;
    /// The pod mirrors a static one of a kubelet.
    MirrorPod, "mirror_pod", Skipped;
    /// An ephemeral container in a pod that has no sidecar.
    NoSidecar, "no_sidecar", Skipped;
    /// The pods of the template would be refused; whoever applies it is warned.
    TemplateRefused, "template_refused", Skipped;
    /// The ConfigMap is a sound policy.
    PolicyValid, "policy_valid", Skipped;

    /// The review is not one that this path answers: another kind, resource, operation or version.
    NotOurs, "not_ours", Refused;
    /// The namespace is not known yet, and asking for it took too long. Trying again helps.
    NamespaceUnknown, "namespace_unknown", Refused;
    /// The pod's label is neither `"true"` nor `"false"`.
    PodLabel, "pod_label", Refused;
    /// The namespace's label is none of `enabled`, `required`, `disabled`.
    NamespaceLabel, "namespace_label", Refused;
    /// The pod declines the sidecar where it is required.
    OptOut, "opt_out", Refused;
    /// The pod can't have a sidecar (host network, Windows, mirror pod) where it is required.
    Impossible, "impossible", Refused;
    /// A list or object of the pod has a shape that no pod has.
    Malformed, "malformed", Refused;
    /// The pod brings a container with the sidecar's name that is not ours.
    ForeignContainer, "foreign_container", Refused;
    /// The pod brings a volume with one of our names that is not ours.
    ForeignVolume, "foreign_volume", Refused;
    /// A container mounts one of our volumes.
    OurVolumeMounted, "our_volume_mounted", Refused;
    /// A container declares one of the sidecar's ports.
    PortTaken, "port_taken", Refused;
    /// The pod names the Secret with the CA.
    CaSecret, "ca_secret", Refused;
    /// `ca.mode: secret` in a namespace that is not required.
    CaMode, "ca_mode", Refused;
    /// The name of the policy's ConfigMap is no name.
    PolicyName, "policy_name", Refused;
    /// The pod names a policy and the namespace does not allow it.
    PodPolicy, "pod_policy", Refused;
    /// An annotation with resources can't be read, or is out of bounds.
    SidecarResources, "sidecar_resources", Refused;
    /// The pod does what Pod Security "baseline" refuses.
    Baseline, "baseline", Refused;
    /// A volume makes the node connect to where the pod's author says.
    NodeVolume, "node_volume", Refused;
    /// All containers of the pod see each other's processes.
    SharedProcesses, "shared_processes", Refused;
    /// A container declares the sidecar's UID.
    SidecarUid, "sidecar_uid", Refused;
    /// An ephemeral container is to share the sidecar's processes.
    SidecarTarget, "sidecar_target", Refused;
    /// A container mounts something of its own over the trust files.
    TrustPath, "trust_path", Refused;
    /// The sidecar is missing from the final pod.
    Missing, "missing", Refused;
    /// The sidecar of the final pod is not as we made it.
    NotGenuine, "not_genuine", Refused;
    /// A container stands before the sidecar that may not.
    Precedes, "precedes", Refused;
    /// A container came after the webhook and lacks environment, trust files or dropped capabilities.
    Incomplete, "incomplete", Refused;
    /// A ConfigMap is no sound policy.
    PolicyInvalid, "policy_invalid", Refused;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
