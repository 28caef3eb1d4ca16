//! Golden tests: a folder for each behaviour, with what comes in (`pod.yaml`, or `review.yaml` where more than the pod
//! matters), the situation where it is not the plain one, and what goes out (`patch.json`, `response.yaml`).
//!
//! `make golden` (or `UPDATE_GOLDEN=1`) writes what goes out; the diff is what a reviewer reads.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails")]

#[path = "golden/case.rs"]
mod case;
#[path = "golden/final_pod.rs"]
mod final_pod;
#[path = "golden/properties.rs"]
mod properties;

use std::collections::BTreeSet;

use case::Case;

macro_rules! golden {
    ($($name:ident)+) => {
        /// Every behaviour.
        const NAMES: &[&str] = &[$(stringify!($name),)+];

        $(#[test]
        fn $name() {
            Case::load(stringify!($name)).check();
        })+
    };
}

golden! {
    api_defaulted_reinvocation
    ca_secret_enabled
    ca_secret_required
    committed_inject_output
    copied_pod_of_an_older_version
    debug_with_ptrace
    default_container_chosen
    duplicate_names_enabled
    duplicate_names_required
    empty_lists
    empty_proxy_variable
    envfrom
    ephemeral_container
    ephemeral_container_nothing_new
    ephemeral_container_required
    ephemeral_container_without_sidecar_enabled
    ephemeral_container_without_sidecar_required
    evasion_and_clash
    existing_proxy_both_cases_enabled
    existing_proxy_both_cases_required
    forged_sidecar
    generate_name
    guaranteed
    host_network_enabled
    host_network_required
    image_pull_secrets
    init_containers
    jobs
    key_mounted
    manager_pod
    manager_warm_pod
    mirror_pod_enabled
    mirror_pod_required
    namespace_label_misspelt
    net_raw
    no_containers
    no_service_account_token
    not_asked
    null_lists
    odd_shape
    opt_in_disabled
    opt_in_unlabelled
    opt_out_enabled
    opt_out_required
    own_trust_mount
    plain_required
    pod_label_misspelt
    pod_level_guaranteed
    pod_level_resources
    pod_policy_misspelt
    policy_of_namespace
    policy_of_pod_allowed
    policy_of_pod_refused
    port_clash
    references_in_values
    reinvocation_with_added_container
    resources_by_annotation
    resources_of_namespace_broken
    resources_out_of_bounds
    restored_into_a_required_namespace
    restricted_pod
    slash_and_tilde_keys
    unknown_fields
    update_of_a_pod
    valuefrom_enabled
    valuefrom_required
    volume_name_clash
    windows_by_node_selector
    windows_enabled
    windows_required
}

#[test]
fn every_folder_is_a_test() {
    let listed: BTreeSet<String> = NAMES.iter().map(|name| case::folder(name)).collect();
    assert_eq!(listed, case::folders());
}
