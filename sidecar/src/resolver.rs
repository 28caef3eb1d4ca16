//! Names to addresses, by name servers that are the sidecar's own.
//!
//! It asks for fully qualified names only: no search list, no `ndots`, and no hosts file but one that the operator named.
//! A pod's containers share `/etc/resolv.conf` and `/etc/hosts`, so neither is read after the first start. It never
//! judges an address; that is `address`'s affair.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{TokioResolver, system_conf};
use sandgate_policy::destination::Host;
use thiserror::Error;
use tokio::time::timeout;

use crate::file;
use crate::settings::Resolve;

/// How long the second address family may lag behind the first (RFC 8305 3, "Resolution Delay").
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// A name that was missing is asked for again after this time at the latest: a service that a test or a rollout just
/// made must not stay invisible for the zone's negative TTL.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// Answers kept at once. A sandbox talks to tens of names, not thousands.
const CACHED_ANSWERS: u64 = 256;

/// Resolves names. Cheap to share; answers are cached for their TTL.
pub struct Resolver {
    dns: TokioResolver,
    /// Whether there is a name server to ask. Names below `localhost` need none (RFC 6761 6.3).
    has_server: bool,
    pins: HashMap<(Host, u16), Vec<IpAddr>>,
    hosts: HashMap<Host, Vec<IpAddr>>,
}

impl Resolver {
    /// A resolver that asks `servers`, each query for at most `query_timeout`.
    ///
    /// # Errors
    /// Text for the operator where the resolver can't be built.
    pub fn new(
        servers: &[SocketAddr],
        query_timeout: Duration,
        pins: &[Resolve],
        hosts: HashMap<Host, Vec<IpAddr>>,
    ) -> Result<Self, String> {
        let config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options(query_timeout);
        let dns = builder.build().map_err(|error| format!("the resolver can't be set up: {error}"))?;
        let mut by_host: HashMap<_, Vec<IpAddr>> = HashMap::new();
        for pin in pins {
            by_host.entry((pin.host.clone(), pin.port)).or_default().push(pin.address);
        }
        Ok(Self { dns, has_server: !servers.is_empty(), pins: by_host, hosts })
    }

    /// The addresses of `host` to choose one from, in the order of the answers; an IP literal is its own address.
    ///
    /// # Errors
    /// [`ResolveError`]; a name without addresses is [`ResolveError::NotFound`].
    pub async fn addresses(&self, host: &Host, port: u16) -> Result<Vec<IpAddr>, ResolveError> {
        self.resolve(host, port, RESOLUTION_DELAY).await
    }

    /// Every address of `host`, however late the name servers are with either family. One that fails counts as empty
    /// where the other has addresses: name servers that know nothing of IPv6 are common.
    ///
    /// # Errors
    /// As [`Self::addresses`].
    pub async fn every_address(&self, host: &Host, port: u16) -> Result<Vec<IpAddr>, ResolveError> {
        self.resolve(host, port, Duration::MAX).await
    }

    async fn resolve(&self, host: &Host, port: u16, lag: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(pinned) = self.pins.get(&(host.clone(), port)).or_else(|| self.hosts.get(host)) {
            return Ok(pinned.clone());
        }
        match host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Name(name) => self.ask(name, lag).await,
        }
    }

    async fn ask(&self, name: &str, lag: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        let mut name = Name::from_ascii(name).map_err(|_| ResolveError::NotFound)?;
        name.set_fqdn(true);
        let (v4, v6) = (self.dns.lookup(name.clone(), RecordType::A), self.dns.lookup(name.clone(), RecordType::AAAA));
        let (v4, v6) = both_or_first(v4, v6, lag).await;
        let addresses: Vec<IpAddr> = [&v6, &v4].into_iter().flatten().flatten().flat_map(addresses_of).collect();
        if addresses.is_empty() {
            return Err(if self.has_server { worst(v4, v6) } else { ResolveError::NoServer });
        }
        Ok(addresses)
    }
}

type Answer = Result<Lookup, NetError>;

/// Waits for both families, but for the slower one no longer than `lag` once the other has addresses.
async fn both_or_first(
    v4: impl Future<Output = Answer>,
    v6: impl Future<Output = Answer>,
    lag: Duration,
) -> (Option<Answer>, Option<Answer>) {
    tokio::pin!(v4, v6);
    tokio::select! {
        first = &mut v4 => {
            let second = second_answer(&first, v6, lag).await;
            (Some(first), second)
        }
        first = &mut v6 => {
            let second = second_answer(&first, v4, lag).await;
            (second, Some(first))
        }
    }
}

async fn second_answer(first: &Answer, second: impl Future<Output = Answer>, lag: Duration) -> Option<Answer> {
    if first.as_ref().is_ok_and(|lookup| addresses_of(lookup).next().is_some()) {
        timeout(lag, second).await.ok()
    } else {
        Some(second.await)
    }
}

fn addresses_of(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup.answers().iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    })
}

/// The failure to report when neither family has an address: a server's failure says more than an empty answer.
fn worst(v4: Option<Answer>, v6: Option<Answer>) -> ResolveError {
    let errors = [v4, v6].into_iter().flatten().filter_map(Result::err).map(ResolveError::from);
    errors
        .reduce(|worst, error| if matches!(worst, ResolveError::NotFound) { error } else { worst })
        .unwrap_or(ResolveError::NotFound)
}

/// Over UDP, and over TCP what does not fit; over TCP alone where the server's address is one of IPv6: every program in the
/// pod's network can send datagrams in the name of any IPv6 address, without a capability (`IPV6_FREEBIND`), and leave so few
/// ports free that only the 16 bits of a question's id are to be guessed.
fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::tcp()];
    if address.is_ipv4() {
        connections.insert(0, ConnectionConfig::udp());
    }
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    NameServerConfig::new(address.ip(), true, connections)
}

fn options(query_timeout: Duration) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.ndots = 0;
    options.timeout = query_timeout;
    options.attempts = 1;
    options.cache_size = CACHED_ANSWERS;
    options.use_hosts_file = ResolveHosts::Never;
    options.negative_max_ttl = Some(NEGATIVE_TTL);
    options
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address of either family.
    #[error("the name has no address")]
    NotFound,
    /// Nobody can be asked for it.
    #[error("there is no name server to ask")]
    NoServer,
    /// The name servers answered with a failure, named here.
    #[error("the name servers failed: {0}")]
    Failed(Arc<str>),
    /// The name servers did not answer in time.
    #[error("the name servers did not answer in time")]
    Timeout,
}

impl From<NetError> for ResolveError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Timeout => Self::Timeout,
            error if error.is_nx_domain() => Self::NotFound,
            NetError::Dns(hickory_resolver::net::DnsError::NoRecordsFound(records)) => match records.response_code {
                hickory_resolver::proto::op::ResponseCode::NoError => Self::NotFound,
                code => Self::Failed(code.to_string().into()),
            },
            error => Self::Failed(error.to_string().into()),
        }
    }
}

/// The name servers that a resolv.conf lists, each on port 53. Its search list and options are not used.
///
/// # Errors
/// Text that says what is wrong with the content.
pub fn name_servers(resolv_conf: &[u8]) -> Result<Vec<SocketAddr>, String> {
    let (config, _) = system_conf::parse_resolv_conf(resolv_conf).map_err(|error| error.to_string())?;
    Ok(config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53)).collect())
}

/// Reads a hosts file in the format of hosts(5). Lines that are not an address and names are reported.
///
/// # Errors
/// Text that names the file, and the line where one is wrong.
pub fn read_hosts_file(path: &Path) -> Result<HashMap<Host, Vec<IpAddr>>, String> {
    let text = file::read_text(path, file::LIMIT).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut hosts: HashMap<Host, Vec<IpAddr>> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let problem = |what: &str| format!("{}:{}: {what}", path.display(), index + 1);
        let mut fields = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = fields.next() else { continue };
        let address: IpAddr = address.parse().map_err(|_| problem("the line does not begin with an address"))?;
        for name in fields {
            let host = Host::parse(name).map_err(|_| problem("not a host name"))?;
            hosts.entry(host).or_default().push(address);
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use sandgate_testkit::dns::DnsServer;

    use super::*;

    #[test]
    fn resolv_conf_gives_its_name_servers_and_nothing_else() {
        let servers = name_servers(b"search evil.test\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5\n");
        assert_eq!(servers, Ok(vec!["10.0.0.10:53".parse().unwrap(), "[fd00::10]:53".parse().unwrap()]));
        assert!(name_servers(b"search only.test\n").is_err());
    }

    #[tokio::test]
    async fn a_name_server_with_an_ipv6_address_is_asked_over_tcp_alone() {
        for (address, over_tcp) in [("127.0.0.1", false), ("::1", true)] {
            let dns = DnsServer::start_at(address.parse().unwrap()).await;
            dns.addresses("origin.test", &["10.0.0.1", "fd00::1"]);
            let resolver = Resolver::new(&[dns.addr()], Duration::from_secs(5), &[], HashMap::new()).unwrap();
            // It is asked again over a new connection where it has closed the one that was there.
            for round in 1..=3 {
                let addresses = resolver.addresses(&Host::parse("origin.test").unwrap(), 443).await;
                assert_eq!(addresses, Ok(vec!["fd00::1".parse().unwrap(), "10.0.0.1".parse().unwrap()]), "{round}");
                let questions = dns.questions();
                assert!(questions.len() == 2 * round && questions.iter().all(|it| it.tcp == over_tcp), "{questions:?}");
                dns.hang_up();
            }
        }
    }

    #[tokio::test]
    async fn every_address_is_waited_for_and_one_to_choose_from_is_not() {
        let dns = DnsServer::start().await;
        let addresses: Vec<IpAddr> = ["fd00::1", "10.0.0.1"].map(|text| text.parse().unwrap()).to_vec();
        // Far longer than a moment, and far shorter than a question may take.
        let late = sandgate_testkit::dns::Answer::LateV6(addresses.clone(), Duration::from_secs(1));
        dns.set("origin.test", late);
        let resolver = || Resolver::new(&[dns.addr()], Duration::from_secs(20), &[], HashMap::new()).unwrap();
        let host = Host::parse("origin.test").unwrap();
        assert_eq!(resolver().every_address(&host, 443).await, Ok(addresses.clone()));
        assert_eq!(resolver().addresses(&host, 443).await, Ok(vec![addresses[1]]));
    }

    #[test]
    fn a_hosts_file_is_read_as_hosts_5_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, "# comment\n10.0.0.1 a.test A.alias.test # tail\n\n::1 a.test\n").unwrap();
        let hosts = read_hosts_file(&path).unwrap();
        assert_eq!(hosts[&Host::parse("a.test").unwrap()].len(), 2);
        assert_eq!(hosts[&Host::parse("a.alias.test").unwrap()].len(), 1);
        std::fs::write(&path, "10.0.0.1 a.test\nnonsense b.test\n").unwrap();
        assert!(read_hosts_file(&path).unwrap_err().contains(":2: the line does not begin"));
    }
}
