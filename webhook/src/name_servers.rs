//! The name servers that sidecars are told to ask: configured, else those of the webhook's own pod, which no workload can
//! write to.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use thiserror::Error;

use crate::config::Config;

/// The file of the webhook's own pod (resolv.conf(5)).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of DNS.
const PORT: u16 = 53;
/// As many as the C library asks.
const MOST: usize = 3;

/// Why there is none.
#[derive(Debug, Error)]
pub enum NoNameServer {
    /// The file can't be read.
    #[error("{path} can't be read: {source}; set dns.servers in the configuration")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It names none that another pod could ask.
    #[error("{path} names no name server that other pods can reach; set dns.servers in the configuration")]
    None {
        /// The file.
        path: String,
    },
}

/// The name servers of sidecars under this configuration.
///
/// # Errors
/// [`NoNameServer`]. Without one, a sidecar would have to read a file that its workload may write.
pub fn name_servers(config: &Config, resolv_conf: &Path) -> Result<Vec<SocketAddr>, NoNameServer> {
    if !config.dns.servers.is_empty() {
        return Ok(config.dns.servers.clone());
    }
    let path = resolv_conf.display().to_string();
    let text = fs::read_to_string(resolv_conf).map_err(|source| NoNameServer::Read { path: path.clone(), source })?;
    let servers = parse(&text);
    if servers.is_empty() { Err(NoNameServer::None { path }) } else { Ok(servers) }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        words.next()?.parse::<IpAddr>().ok()
    });
    // On loopback there would be the sidecar's own pod.
    let elsewhere = addresses.filter(|address| !address.is_loopback() && !address.is_unspecified());
    elsewhere.take(MOST).map(|address| SocketAddr::new(address, PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_servers_come_before_those_of_the_file() {
        let mut config = Config::default();
        config.dns.servers = vec!["10.0.0.1:5353".parse().unwrap()];
        assert_eq!(name_servers(&config, Path::new("/nowhere")).unwrap(), config.dns.servers);
        let missing = name_servers(&Config::default(), Path::new("/nowhere")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere can't be read") && missing.contains("dns.servers"), "{missing}");
    }

    #[test]
    fn a_file_is_read_as_the_c_library_reads_it_without_what_is_local() {
        let text = "# nameserver 10.9.9.9\nsearch a b\n nameserver\t10.96.0.10 # x\nnameserver 127.0.0.53\n\
                    nameserver fd00::a\nnameserver nonsense\nnameserver ::1\nnameserver 1.1.1.1\nnameserver 1.0.0.1\n";
        let expected: Vec<SocketAddr> =
            ["10.96.0.10:53", "[fd00::a]:53", "1.1.1.1:53"].map(|text| text.parse().unwrap()).into();
        assert_eq!(parse(text), expected);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "nameserver 127.0.0.1\n").unwrap();
        let none = name_servers(&Config::default(), file.path()).unwrap_err().to_string();
        assert!(none.contains("names no name server"), "{none}");
    }
}
