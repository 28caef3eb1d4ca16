//! The values of settings, each from its text. Every error says what was expected; the caller says where it stood.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandgate_policy::destination::Host;
use sandgate_policy::quantity;
use sandgate_service::logging::{self, LogFormat};

use super::upstream_proxy::{Proxies, ProxyUrl};
use super::{AuditLog, CaSource, PolicySource};

/// An address for a name by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The name, canonical.
    pub host: Host,
    /// The port that it holds for.
    pub port: u16,
    /// The address; more than one entry for a host and port make a list.
    pub address: IpAddr,
}

pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(text.into())
}

pub(super) fn policy_file(text: &str) -> Result<PolicySource, String> {
    Ok(if text.is_empty() { PolicySource::None } else { PolicySource::File(text.into()) })
}

/// One proxy for both schemes.
pub(super) fn upstream_proxy(text: &str) -> Result<Proxies, String> {
    if text.is_empty() || text == "none" {
        return Ok(Proxies::default());
    }
    let proxy = Some(Arc::new(ProxyUrl::of_setting(text)?));
    Ok(Proxies { https: proxy.clone(), http: proxy })
}

pub(super) fn ca_source(text: &str) -> Result<CaSource, String> {
    match text {
        "files" => Ok(CaSource::Files),
        "generate" => Ok(CaSource::Generate),
        _ => Err(unexpected(text, "files or generate")),
    }
}

pub(super) fn audit_log(text: &str) -> Result<AuditLog, String> {
    Ok(match text {
        "none" => AuditLog::None,
        "-" => AuditLog::Stdout,
        path => AuditLog::File(path.into()),
    })
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(unexpected(text, "json or text")),
    }
}

/// A filter of `tracing-subscriber`, kept as text; it was parsed once here, so it parses again.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    if logging::is_filter(text) {
        return Ok(text.to_owned());
    }
    let expected = "off, error, warn, info, debug, trace, or a list such as info,sandgate_sidecar::upstream=debug";
    Err(unexpected(text, expected))
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(unexpected(text, "true or false")),
    }
}

pub(crate) fn listener(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| unexpected(text, "an address and a port, such as 127.0.0.1:8080 or [::1]:8080"))
}

pub(super) fn name_server(text: &str) -> Result<SocketAddr, String> {
    const DNS_PORT: u16 = 53;
    let bare = || address(text).map(|address| SocketAddr::new(address, DNS_PORT));
    (text.parse().ok().filter(|server: &SocketAddr| server.port() != 0))
        .or_else(bare)
        .ok_or_else(|| unexpected(text, "an address with or without a port, such as 10.0.0.10 or [fd00::10]:53"))
}

/// `HOST:PORT:ADDR`, as curl's `--resolve` has it, with one address and without its `+`, `-` and `*` forms.
pub(super) fn resolve(text: &str) -> Result<Resolve, String> {
    let expected =
        || unexpected(text, "HOST:PORT:ADDR with one name, port and address; repeat the setting for more addresses");
    let mut parts = text.splitn(3, ':');
    let mut part = || parts.next().ok_or_else(expected);
    let (host, port, literal) = (part()?, part()?, part()?);
    let host = Host::parse(host).ok().filter(|host| host.name().is_some()).ok_or_else(expected)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(expected)?;
    Ok(Resolve { host, port, address: address(literal).ok_or_else(expected)? })
}

fn address(text: &str) -> Option<IpAddr> {
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match in_brackets {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// A whole number from 1 to `MOST`. Every count has an end that makes sense for it: past it memory is asked for that no
/// machine has, and libraries panic.
pub(super) fn count<const MOST: usize>(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| unexpected(text, &format!("a whole number from 1 to {MOST}")))
}

/// A size in bytes with its unit, from 8 KiB, the least that hyper can be set to, to 1 MiB, for it is held in memory.
pub(super) fn head_size(text: &str) -> Result<usize, String> {
    let size = usize::try_from(quantity::size(text)?).ok().filter(|size| (8 << 10..=1 << 20).contains(size));
    size.ok_or_else(|| unexpected(text, "a size from 8KiB to 1MiB"))
}

/// A time that TCP keepalive can be set to. Linux takes at most 32767 s; the questions after the first come a quarter of
/// it apart, in whole seconds, and not zero.
pub(super) fn keepalive(text: &str) -> Result<Duration, String> {
    const RANGE: RangeInclusive<Duration> = Duration::from_secs(4)..=Duration::from_secs(9 * 3600);
    let duration = quantity::duration(text)?;
    if RANGE.contains(&duration) { Ok(duration) } else { Err(unexpected(text, "a time from 4s to 9h")) }
}

/// A time above zero with its unit, up to ten years.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    /// Sums of a moment and a wait must not overflow, and a longer wait would be no bound.
    const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    let duration = quantity::duration(text)?;
    if duration > LONGEST { Err(unexpected(text, "a bound: ten years is the most")) } else { Ok(duration) }
}

/// As [`duration`], or zero.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    if ["0", "0s"].contains(&text) { Ok(Duration::ZERO) } else { duration(text) }
}

fn unexpected(text: &str, expected: &str) -> String {
    format!("\"{text}\" is not {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_above_zero_and_has_an_end() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for text in ["", "10", "0", "0s", "1.5s", "-1s", "+1s", "87601h", "18446744073709551615ms"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(["0", "0s"].map(duration_or_zero), [Ok(Duration::ZERO), Ok(Duration::ZERO)]);
        assert!(duration_or_zero("10").is_err());
    }

    #[test]
    fn a_head_is_neither_too_small_for_the_parser_nor_too_large_for_memory() {
        assert_eq!(["8KiB", "32KiB", "1MiB"].map(|text| head_size(text).unwrap()), [8 << 10, 32 << 10, 1 << 20]);
        for text in ["", "0B", "8191B", "1025KiB", "32", "32K", "32kb", "KiB", "0.5MiB", "-1B", "99999999999GiB"] {
            assert!(head_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_count_has_both_ends() {
        assert_eq!(["1", "10"].map(|text| count::<10>(text).unwrap()), [1, 10]);
        for text in ["", "0", "11", "-1", "1.5", "18446744073709551616"] {
            assert_eq!(count::<10>(text).unwrap_err(), format!("\"{text}\" is not a whole number from 1 to 10"));
        }
    }

    #[test]
    fn keepalive_is_what_the_socket_option_takes() {
        assert_eq!(["4s", "9h"].map(|text| keepalive(text).unwrap().as_secs()), [4, 32_400]);
        for text in ["", "500ms", "3s", "3999ms", "32401s", "10h"] {
            assert!(keepalive(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_server_has_port_53_unless_named() {
        let server = |text| name_server(text).map(|server| server.to_string()).ok();
        assert_eq!(server("10.0.0.10").as_deref(), Some("10.0.0.10:53"));
        assert_eq!(server("fd00::10").as_deref(), Some("[fd00::10]:53"));
        assert_eq!(server("[fd00::10]").as_deref(), Some("[fd00::10]:53"));
        assert_eq!(server("[fd00::10]:5353").as_deref(), Some("[fd00::10]:5353"));
        for text in ["dns.test", "10.0.0.10:0", "10.0.0.10:x", "10.0.0", "[10.0.0.10]"] {
            assert_eq!(server(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_by_hand_is_written_as_for_curl() {
        let parsed = |text| resolve(text).map(|entry| format!("{} {} {}", entry.host, entry.port, entry.address)).ok();
        assert_eq!(parsed("Origin.Test.:8443:127.0.0.1").as_deref(), Some("origin.test 8443 127.0.0.1"));
        assert_eq!(parsed("a.test:443:[::1]").as_deref(), Some("a.test 443 ::1"));
        assert_eq!(parsed("a.test:443:::1").as_deref(), Some("a.test 443 ::1"));
        for text in [
            "+a.test:443:127.0.0.1",
            "-a.test:443",
            "*:443:127.0.0.1",
            "a.test:0:127.0.0.1",
            "a.test:443:b.test",
            "a.test:443",
            "127.0.0.1:443:127.0.0.2",
            "a.test:443:[127.0.0.1]",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
