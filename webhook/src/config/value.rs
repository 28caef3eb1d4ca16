//! The values of settings, each from its text and back. Every error says what was expected; the caller says where it
//! stood.

pub(crate) mod name;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sandgate_contract::{CONTAINER_NAME, VARIABLES};
use sandgate_policy::quantity;

use super::{ApiServer, CaMode, CertificateSource};
use crate::names::VOLUMES;
use crate::resources::Quantity;

/// How a value is read, and written as a user would write it.
#[derive(Clone, Copy)]
pub(super) struct Codec<T> {
    pub(super) parse: fn(&str) -> Result<T, String>,
    pub(super) show: fn(&T) -> String,
}

const fn text(parse: fn(&str) -> Result<String, String>) -> Codec<String> {
    Codec { parse, show: String::clone }
}

pub(super) const IMAGE: Codec<String> = text(name::image);
pub(super) const SUBDOMAIN: Codec<String> = text(name::subdomain);
pub(super) const SERVICE: Codec<String> = text(name::service);
pub(super) const PULL_POLICY: Codec<String> = text(|text| word(text, &["IfNotPresent", "Always", "Never"]));
pub(super) const LOG_LEVEL: Codec<String> = text(|text| word(text, &["error", "warn", "info", "debug", "trace"]));
pub(super) const RENDERING: Codec<String> = text(rendering);
pub(super) const INIT_CONTAINER: Codec<String> = text(init_container);
pub(super) const TOLERATED_VARIABLE: Codec<String> = text(tolerated_variable);
pub(super) const TOLERATED_VOLUME: Codec<String> = text(tolerated_volume);
pub(super) const DIRECT_HOST: Codec<String> = text(direct_host);

pub(super) const UID: Codec<u32> = Codec { parse: |text| number(text, 1, 2_147_483_647), show: ToString::to_string };
pub(super) const PORT: Codec<u16> = Codec { parse: |text| number(text, 1024, 65_535), show: ToString::to_string };
pub(super) const CONNECTIONS: Codec<usize> =
    Codec { parse: |text| number(text, 16, 1_000_000), show: ToString::to_string };
pub(super) const BODY_SIZE: Codec<usize> = Codec { parse: body_size, show: |bytes| size_text(*bytes) };
pub(super) const CPU: Codec<Quantity> = Codec { parse: cpu, show: ToString::to_string };
pub(super) const MEMORY: Codec<Quantity> = Codec { parse: memory, show: ToString::to_string };
pub(super) const NAME_SERVER: Codec<SocketAddr> = Codec { parse: name_server, show: ToString::to_string };
pub(super) const LISTENER: Codec<SocketAddr> = Codec { parse: listener, show: ToString::to_string };

pub(super) const CA_MODE: Codec<CaMode> = Codec {
    parse: |text| choice(text, &[("pod", CaMode::Pod), ("secret", CaMode::Secret)]),
    show: |mode| match mode {
        CaMode::Pod => "pod".to_owned(),
        CaMode::Secret => "secret".to_owned(),
    },
};
pub(super) const API_SERVER: Codec<ApiServer> = Codec {
    parse: |text| choice(text, &[("direct", ApiServer::Direct), ("refused", ApiServer::Refused)]),
    show: |way| match way {
        ApiServer::Direct => "direct".to_owned(),
        ApiServer::Refused => "refused".to_owned(),
    },
};
pub(super) const CERTIFICATE_MODE: Codec<CertificateSource> = Codec {
    parse: |text| {
        let files = CertificateSource::Files(PathBuf::from(DEFAULT_CERTIFICATE_DIR));
        choice(text, &[("managed", CertificateSource::Managed), ("files", files)])
    },
    show: |source| match source {
        CertificateSource::Managed => "managed".to_owned(),
        CertificateSource::Files(_) => "files".to_owned(),
    },
};
/// Where the certificate's files are unless the configuration says otherwise.
const DEFAULT_CERTIFICATE_DIR: &str = "/etc/sandgate/tls";
/// Reads only beside `certificate.mode: files`, which stands before it in the table.
pub(super) const CERTIFICATE_DIR: Codec<CertificateSource> = Codec {
    parse: |text| absolute_path(text).map(CertificateSource::Files),
    show: |source| match source {
        CertificateSource::Managed => DEFAULT_CERTIFICATE_DIR.to_owned(),
        CertificateSource::Files(dir) => dir.display().to_string(),
    },
};

const fn time(parse: fn(&str) -> Result<Duration, String>) -> Codec<Duration> {
    Codec { parse, show: duration_text }
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// From nothing to what a pod's grace period may be.
pub(super) const SHUTDOWN: Codec<Duration> = time(|text| match text {
    "0" | "0s" => Ok(Duration::ZERO),
    text => bounded(text, Duration::from_millis(1), Duration::from_secs(HOUR)),
});
/// The API server gives up after 30 s at most.
pub(super) const PATIENCE: Codec<Duration> =
    time(|text| bounded(text, Duration::from_millis(100), Duration::from_secs(30)));
pub(super) const IDLE: Codec<Duration> = time(|text| bounded(text, Duration::from_secs(1), Duration::from_secs(DAY)));
/// A minute is for tests of the rotation; ten years is more than anybody plans for.
pub(super) const LIFETIME: Codec<Duration> =
    time(|text| bounded(text, Duration::from_secs(60), Duration::from_secs(3650 * DAY)));
pub(super) const TRUST_DELAY: Codec<Duration> =
    time(|text| bounded(text, Duration::from_secs(1), Duration::from_secs(DAY)));

fn unexpected(text: &str, expected: &str) -> String {
    format!("{text:?} is not {expected}")
}

fn choice<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
    found.ok_or_else(|| format!("{text:?} is not known; write {}", words.join(" or ")))
}

fn word(text: &str, words: &[&str]) -> Result<String, String> {
    let choices: Vec<(&str, String)> = words.iter().map(|word| (*word, (*word).to_owned())).collect();
    choice(text, &choices)
}

/// Digits only: no sign, no underscore, no other base.
fn number<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse().ok()).flatten().filter(|number| (least..=most).contains(number));
    let number = number.and_then(|number: u64| T::try_from(number).ok());
    number.ok_or_else(|| unexpected(text, &format!("a whole number from {least} to {most}")))
}

fn body_size(text: &str) -> Result<usize, String> {
    let bytes = quantity::size(text)?;
    let bytes = usize::try_from(bytes).ok().filter(|bytes| (1 << 20..=64 << 20).contains(bytes));
    bytes.ok_or_else(|| unexpected(text, "a size from 1MiB to 64MiB"))
}

fn size_text(bytes: usize) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        bytes => format!("{bytes}B"),
    }
}

fn bounded(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = quantity::duration(text)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(unexpected(text, &format!("a time from {} to {}", duration_text(&least), duration_text(&most))))
}

fn duration_text(duration: &Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        millis if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        millis if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        millis if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

/// A millicore is the least that Kubernetes takes.
fn cpu(text: &str) -> Result<Quantity, String> {
    let cpu = Quantity::parse(text)?;
    if (1..=1_000_000).contains(&cpu.milli()) { Ok(cpu) } else { Err(unexpected(text, "CPU from 1m to 1000")) }
}

/// Less than a mebibyte is a forgotten unit: `128` is 128 bytes, and `128m` a fraction of one.
fn memory(text: &str) -> Result<Quantity, String> {
    const BYTE: i128 = 1000;
    let memory = Quantity::parse(text)?;
    let sane = (BYTE << 20..=BYTE << 40).contains(&memory.milli()) && memory.milli() % BYTE == 0;
    if sane { Ok(memory) } else { Err(unexpected(text, "memory from 1Mi to 1Ti, in whole bytes; is the unit right?")) }
}

fn rendering(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 12 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hash { Ok(text.to_owned()) } else { Err(unexpected(text, "a rendering's hash: 12 of 0-9 and a-f")) }
}

fn init_container(text: &str) -> Result<String, String> {
    let name = name::label(text)?;
    if name == CONTAINER_NAME {
        return Err(format!("{text:?} is the sidecar itself; remove it"));
    }
    Ok(name)
}

/// What else the sidecar, its libraries or its loader read, beside what `sandgate_contract` lists.
const READ_PREFIXES: [&str; 12] = [
    "SANDGATE_",
    "PROXYCONFIGURATION__",
    "POD_",
    "LD_",
    "GLIBC_",
    "MALLOC_",
    "MIMALLOC_",
    "RUST_",
    "TOKIO_",
    "SSL_",
    "OPENSSL_",
    "AWS_LC_",
];
const READ_NAMES: [&str; 5] = ["ALL_PROXY", "FTP_PROXY", "PATH", "HOME", "TMPDIR"];

fn tolerated_variable(text: &str) -> Result<String, String> {
    let starts = !text.is_empty() && !text.starts_with(|first: char| first.is_ascii_digit());
    if !starts || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        return Err(unexpected(text, "the name of a variable: letters, digits, _, - and ., no digit first"));
    }
    let upper = text.to_ascii_uppercase();
    let is_read = READ_PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
        || READ_NAMES.contains(&upper.as_str())
        || VARIABLES.iter().any(|variable| variable.name.eq_ignore_ascii_case(text));
    if is_read {
        return Err(format!("{text:?} is one that the sidecar may read, so nobody else may set it; remove it"));
    }
    Ok(text.to_owned())
}

fn tolerated_volume(text: &str) -> Result<String, String> {
    let name = name::label(text)?;
    if VOLUMES.contains(&text) {
        return Err(format!("{text:?} is a volume of the sidecar's own; remove it"));
    }
    Ok(name)
}

/// An entry of NO_PROXY that every client reads alike: a name, a `.suffix`, an address or a network.
fn direct_host(text: &str) -> Result<String, String> {
    let expected = "a name, a .suffix, an address or a network such as 10.0.0.0/8";
    if text.contains('*') {
        return Err(format!("{text:?} has a wildcard, which clients read differently; write {expected}"));
    }
    if let Some((address, prefix)) = text.split_once('/') {
        return network(address, prefix).map(|()| text.to_owned()).map_err(|why| format!("{text:?} {why}"));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    // Numbers alone are an address that was not finished, and none in NO_PROXY.
    let name = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric || name::subdomain(&name).is_err() {
        return Err(unexpected(text, expected));
    }
    Ok(text.to_owned())
}

fn network(address: &str, prefix: &str) -> Result<(), String> {
    let address: IpAddr = address.parse().map_err(|_| "is not a network; write it as in 10.0.0.0/8".to_owned())?;
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32_u32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let prefix: u32 = number(prefix, 0, u64::from(width)).map_err(|why| format!("has no prefix length: {why}"))?;
    if prefix == 0 {
        return Err("would take every address past the proxy; list what is needed".to_owned());
    }
    let host_bits = width - prefix;
    if bits.trailing_zeros() < host_bits {
        return Err("has bits set behind its prefix; clear them, or write a longer prefix".to_owned());
    }
    Ok(())
}

/// Not loopback: that is the pod's own, where any container of it may listen and answer.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    const DNS_PORT: u16 = 53;
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = in_brackets.map_or_else(|| text.parse().ok(), |v6| v6.parse().ok().map(IpAddr::V6));
    let bare = bare.map(|address| SocketAddr::new(address, DNS_PORT));
    let server = text.parse().ok().filter(|server: &SocketAddr| server.port() != 0).or(bare);
    let server = server
        .ok_or_else(|| unexpected(text, "an address with or without a port, such as 10.0.0.10 or [fd00::10]:53"))?;
    match server.ip().to_canonical() {
        ip if ip.is_loopback() => {
            Err(format!("{text:?} is the pod's own loopback, where its workload may answer; name a server outside it"))
        }
        ip if ip.is_unspecified() || ip.is_multicast() => Err(unexpected(text, "an address of one server")),
        _ => Ok(server),
    }
}

fn listener(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| unexpected(text, "an address and a port, such as [::]:8443 or 0.0.0.0:8443"))
}

fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let sound = path.is_absolute() && !text.contains('\0');
    if sound { Ok(path) } else { Err(unexpected(text, "an absolute path; write it from / on")) }
}

#[cfg(test)]
mod tests;
