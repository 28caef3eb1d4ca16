//! The variables of the original proxy, read so that its manifests work unchanged. They are weaker than every setting
//! of ours, and each is answered with a warning that names ours.

use std::ffi::OsString;

use super::layers::{Layers, Origin};
use super::{Setting, row};

const PREFIX: &str = "proxyconfiguration__";
const DOMAINS: &str = "alloweddomains__";

/// Adds what the original's variables say. Their names are compared without case, as the original did.
pub(super) fn add(layers: &mut Layers, variables: &[(OsString, OsString)]) {
    let mut domains = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(key) = name.to_ascii_lowercase().strip_prefix(PREFIX).map(str::to_owned) else { continue };
        let Some(value) = value.to_str() else {
            layers.refuse(&name, "the value is not UTF-8");
            continue;
        };
        match (key.as_str(), key.strip_prefix(DOMAINS).map(str::parse::<u32>)) {
            ("proxyport", _) => add_port(layers, row("listen"), name, value, &["127.0.0.1", "[::1]"]),
            ("healthport", _) => add_port(layers, row("admin-listen"), name, value, &["[::]"]),
            (_, Some(Ok(index))) => domains.push((index, name, value)),
            _ => layers.warn(format!("{name} is not a variable that is known here and is ignored")),
        }
    }
    domains.sort_unstable();
    if let Some((_, name, _)) = domains.first() {
        let hosts = domains.iter().map(|(_, _, host)| host.trim()).filter(|host| !host.is_empty());
        add_domains(layers, name, hosts.collect::<Vec<_>>().join(","));
    }
}

fn add_port(layers: &mut Layers, setting: &'static Setting, name: &str, port: &str, addresses: &[&str]) {
    if is_taken(layers, setting, name, &[setting]) {
        return;
    }
    if !port.parse::<u16>().is_ok_and(|port| port != 0) {
        layers.refuse(&name, &format!("\"{port}\" is not a port from 1 to 65535"));
        return;
    }
    let listeners: Vec<_> = addresses.iter().map(|address| format!("{address}:{port}")).collect();
    take(layers, setting, name, listeners.join(","));
}

fn add_domains(layers: &mut Layers, name: &str, hosts: String) {
    let setting = row("allowed-domains");
    if !is_taken(layers, setting, name, &[setting, row("policy")]) {
        take(layers, setting, name, hosts);
    }
}

/// Warns where one of `rivals`, a setting of ours, says the same thing, and so is what holds.
fn is_taken(layers: &mut Layers, setting: &Setting, name: &str, rivals: &[&Setting]) -> bool {
    let rival = rivals.iter().find_map(|rival| layers.origin(rival.name)).map(ToString::to_string);
    if let Some(rival) = &rival {
        let variable = setting.variable();
        layers.warn(format!("{name} is ignored, because {rival} is set; it is the old form of {variable}: remove it"));
    }
    rival.is_some()
}

fn take(layers: &mut Layers, setting: &Setting, name: &str, value: String) {
    layers.warn(format!("{name} is the old form of {variable}: set {variable}={value}", variable = setting.variable()));
    layers.add(setting, [(Origin::Variable(name.to_owned()), value)]);
}
