//! Every setting of the sidecar, once: its name, type, default and reason. Flag, variable and file key come from the
//! name. Nothing else reads the environment or a default.

mod direct;
mod document;
mod file;
mod layers;
mod legacy;
mod table;
pub mod upstream_proxy;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use direct::Direct;
pub use document::markdown;
use ipnet::IpNet;
pub use layers::{CONFIG_VARIABLE, Layers, Origin, Problems};
use sandgate_policy::{Policy, PolicyErrors};
use sandgate_service::logging::LogFormat;
pub use table::{Kind, Setting};
use upstream_proxy::Proxies;
pub use value::Resolve;
pub(crate) use value::{duration, listener};

table::settings! {
    "Listeners" {
        /// Where clients connect. A missing IPv6 loopback is passed over as long as one address can be bound.
        /// Loopback, because the containers of a pod share it and nothing outside the pod reaches it.
        listen: Vec<SocketAddr> = "127.0.0.1:8080,[::1]:8080", "ADDR:PORT", many(value::listener);
        /// Where /healthz, /readyz and /metrics are served, or `none`. All addresses, because the kubelet asks from
        /// outside the pod; [::] takes IPv4 too, and becomes 0.0.0.0 where there is no IPv6.
        admin_listen: Vec<SocketAddr> = "[::]:8081", "ADDR:PORT", many(value::listener);
        /// Threads that serve requests. One keeps memory small beside a pod; more help where one core is not enough.
        /// At most 1,024.
        workers: usize = "1", "N", one(value::count::<1_024>);
    }
    "Policy" {
        /// The policy file. Without one, and without allowed domains, everything is refused.
        policy: PolicySource = "", "FILE", one(value::policy_file);
        /// The short form of a policy: hosts, each exact or `*.suffix`, for HTTPS on port 443 unless named. Not
        /// beside a policy file.
        allowed_domains: Option<String> = "", "HOSTS", joined(value::text);
        /// How often the policy file is read to see whether its content changed. Polled, because file notification is
        /// not reliable on every mount.
        policy_poll: Duration = "2s", "TIME", one(value::duration);
    }
    "Certificates" {
        /// Where the CA comes from: `files` reads ca.crt and ca.key, `generate` makes one at start.
        ca: CaSource = "files", "files|generate", one(value::ca_source);
        /// The directory with ca.crt and ca.key, where the CA comes from files.
        ca_dir: PathBuf = "/certs", "DIR", one(value::path);
        /// The Secret that is mounted at the CA directory: messages name it when the CA is not there.
        ca_secret: Option<String> = "", "NAME", optional(value::text);
        /// How often the CA files are read to see whether their content changed. A CA is replaced rarely, and the old
        /// one goes on signing for a while.
        ca_poll: Duration = "10s", "TIME", one(value::duration);
        /// How long the old CA goes on signing after a new one came into the trust files. Programs that read the
        /// bundle once need this long to be restarted.
        ca_overlap: Duration = "24h", "TIME", one(value::duration_or_zero);
        /// Constrain a generated CA to the hosts that the policy intercepts, so that a stolen key is worth little.
        /// At most 1,000 hosts.
        ca_name_constraints: bool = "false", "true|false", switch(value::boolean);
        /// A directory that only the sidecar can read: it keeps a generated CA and the first resolv.conf over a
        /// restart of the container. Without it both live in memory.
        state_dir: Option<PathBuf> = "", "DIR", optional(value::path);
        /// The directory that gets the trust files for the workload. Without it none are written.
        trust_dir: Option<PathBuf> = "", "DIR", optional(value::path);
        /// Where the workload sees the trust directory; the same path unless set. Not for `run`, whose command sees what
        /// the sidecar sees.
        trust_path: Option<PathBuf> = "", "PATH", optional(value::path);
        /// Leaf certificates kept in memory, one for each host. Past this the least used is made again when needed, as is
        /// one that no connection used for 30 s. At most 1,000,000.
        leaf_cache_size: usize = "512", "N", one(value::count::<1_000_000>);
    }
    "Names and origins" {
        /// A name server to ask in place of those in resolv.conf; port 53 unless named. One with an IPv6 address is asked
        /// over TCP alone: any neighbour can send datagrams in its name.
        dns: Vec<SocketAddr> = "", "ADDR[:PORT]", many(value::name_server);
        /// Where the name servers stand. Read once, because the workload may be able to write it.
        resolv_conf: PathBuf = "/etc/resolv.conf", "FILE", one(value::path);
        /// A hosts file to look names up in first. None, because the workload may be able to write /etc/hosts.
        hosts_file: Option<PathBuf> = "", "FILE", optional(value::path);
        /// An address for a name by hand, as curl writes it. The address checks still hold for it.
        resolve: Vec<Resolve> = "", "HOST:PORT:ADDR", many(value::resolve);
        /// A file of PEM roots that origins may be verified with, besides the public ones; or a directory of such files,
        /// where there may be none.
        upstream_ca: Vec<PathBuf> = "", "FILE", many(value::path);
    }
    "Upstream proxy" {
        /// The proxy that all origins are reached through, by CONNECT: `http://HOST:PORT` or `https://HOST:PORT`,
        /// without user and password. `none` is for `run`, which uses the proxy of its user's variables otherwise.
        upstream_proxy: Proxies = "", "URL", one(value::upstream_proxy);
        /// A file with `user:password` in one line, for the upstream proxy. Read again for each connection, so that it
        /// may change.
        upstream_proxy_auth_file: Option<PathBuf> = "", "FILE", optional(value::path);
        /// What is reached without the upstream proxy: a name with all names below it, `.suffix`, an address, a range
        /// such as 10.0.0.0/8, or `*`; with `:port` for that port alone. Addresses and ranges are about IP literals.
        upstream_no_proxy: Vec<Direct> = "", "HOST[:PORT]", many(Direct::of_setting);
    }
    "Time limits" {
        /// The head of a CONNECT or a plain request, from the first moment of the connection. A client on the same
        /// machine needs milliseconds; more is a slow attack.
        connect_head_timeout: Duration = "10s", "TIME", one(value::duration);
        /// Each TLS handshake, with the client, the origin and an upstream proxy, and the first bytes of a tunnel. Some
        /// round trips over a bad line.
        handshake_timeout: Duration = "10s", "TIME", one(value::duration);
        /// A connection to an origin: resolving its name and connecting to one of its addresses. An upstream proxy has
        /// as long again to answer a CONNECT.
        dial_timeout: Duration = "10s", "TIME", one(value::duration);
        /// The name servers' answer, inside the time for dialling. Half of it, so that the connection still has a
        /// chance.
        dns_timeout: Duration = "5s", "TIME", one(value::duration);
        /// A request head inside a tunnel, from its first byte; the first one from the end of the handshake. Longer than
        /// a CONNECT's, because a client may open a tunnel before it knows what to ask.
        inner_head_timeout: Duration = "30s", "TIME", one(value::duration);
        /// A client's connection between two requests. Long, because clients keep connections for reuse, and bounded,
        /// because each takes a place and memory.
        client_idle_timeout: Duration = "15m", "TIME", one(value::duration);
        /// How long a client may leave unread what waits for it, in a tunnel too. As long as an idle body, for a stopped
        /// reader is one.
        client_read_timeout: Duration = "15m", "TIME", one(value::duration);
        /// The origin's response head, after the request is sent. Long, because a model may think for minutes before
        /// its first token.
        first_byte_timeout: Duration = "15m", "TIME", one(value::duration);
        /// A body in which nothing moves, in either direction. Long, because event streams may be silent for minutes.
        idle_body_timeout: Duration = "15m", "TIME", one(value::duration);
        /// What a client still sends after a refusal: it is read and dropped for so long, because a connection that is
        /// closed before takes the refusal with it.
        refused_body_timeout: Duration = "5s", "TIME", one(value::duration);
        /// An unused connection to an origin. Many servers close theirs after 60 s or more, and a request should not meet
        /// that moment.
        pool_idle_timeout: Duration = "45s", "TIME", one(value::duration);
        /// TCP keepalive of every connection. WebSockets and passthrough tunnels have no idle end, so this is what
        /// finds a dead peer. From 4s to 9h.
        tcp_keepalive: Duration = "60s", "TIME", one(value::keepalive);
        /// The origin's 100 (Continue) to a request that expects it; then the body is sent all the same (RFC 9110
        /// 10.1.1).
        continue_wait: Duration = "1s", "TIME", one(value::duration);
        /// A connection to the health port, from its first moment to its end. Probes ask at once, and metrics are small.
        admin_timeout: Duration = "15s", "TIME", one(value::duration);
        /// All of the shutdown after SIGTERM. Below the 30 s after which Kubernetes kills.
        drain_grace: Duration = "25s", "TIME", one(value::duration_or_zero);
        /// A shutdown ends early when no connection was open for this long. A workload beside it gets its SIGTERM at
        /// the same moment and may still need its way out.
        drain_quiet: Duration = "2s", "TIME", one(value::duration_or_zero);
    }
    "Capacities" {
        /// Client connections served at once; more wait to be accepted. No more than half of what the limit of open files
        /// leaves. At most 1,000,000.
        max_connections: usize = "4096", "N", one(value::count::<1_000_000>);
        /// A request head. Larger ones are refused; common servers stop at 8 to 32 KiB. A response head may have 32 KiB, whatever
        /// this is. From 8KiB to 1MiB.
        max_head_bytes: usize = "32KiB", "SIZE", one(value::head_size);
        /// Fields in a head. At most 10,000.
        max_head_fields: usize = "100", "N", one(value::count::<10_000>);
        /// Streams that a client may have open in one HTTP/2 connection. At most 2,147,483,647 (RFC 9113
        /// 5.1.1).
        max_streams: usize = "200", "N", one(value::count::<0x7fff_ffff>);
        /// Unused connections kept for one origin: what as many requests at once need, without a handshake for each. At
        /// most 100,000.
        pool_per_host: usize = "64", "N", one(value::count::<100_000>);
        /// Unused connections kept in all. Each costs a TLS session's memory. At most 100,000.
        pool_size: usize = "128", "N", one(value::count::<100_000>);
        /// HTTP/2 connections opened to one origin when the first has no stream free. At most 100,000.
        pool_h2_connections: usize = "4", "N", one(value::count::<100_000>);
        /// Audit lines that wait for a slow stdout. When it is full, lines are lost and counted. At most
        /// 1,000,000.
        audit_queue: usize = "4096", "N", one(value::count::<1_000_000>);
    }
    "Logs" {
        /// Where audit lines go: a file, `-` for stdout, or `none`.
        audit_log: AuditLog = "-", "FILE|-|none", one(value::audit_log);
        /// How the log on stderr is written.
        log_format: LogFormat = "json", "json|text", one(value::log_format);
        /// What the log on stderr holds: error, warn, info, debug, trace, or a filter such as
        /// `info,sandgate_sidecar::upstream=debug`. A plain level is that of Sandgate itself; libraries are silent unless
        /// they are named, as in `info,h2=debug`.
        log_level: String = "info", "FILTER", one(value::log_level);
    }
    "Pod" {
        /// The pod's name, for audit lines.
        pod_name: Option<String> = "", "NAME", optional(value::text);
        /// The pod's namespace, for audit lines.
        pod_namespace: Option<String> = "", "NAME", optional(value::text);
        /// The pod's UID, for audit lines.
        pod_uid: Option<String> = "", "UID", optional(value::text);
    }
}

/// Where the policy comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PolicySource {
    /// A file, watched for changes.
    File(PathBuf),
    /// The short form: hosts separated by commas.
    AllowedDomains(String),
    /// The text of a policy file that `run` wrote.
    Text(String),
    /// What `run --learn` begins with: a policy, in audit mode whatever it says.
    Learning {
        /// The text of the policy file, or of an empty one.
        base: String,
        /// Ranges that hosts without a rule may be dialled in although they are not globally reachable.
        private_cidrs: Vec<IpNet>,
    },
    /// No policy: everything is refused.
    #[default]
    None,
}

/// Where the CA comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaSource {
    /// `ca.crt` and `ca.key` in the CA directory.
    Files,
    /// Made at start, or found in the state directory.
    Generate,
}

/// Where audit lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

impl Settings {
    /// Parses what `layers` hold and checks what must hold between settings.
    ///
    /// # Errors
    /// Every problem of every layer, each with its source.
    pub fn parse(layers: Layers) -> Result<Self, Problems> {
        Self::parse_beside(layers, None)
    }

    /// As [`Self::parse`], with `proxies` on the way to origins where they come from elsewhere than a setting.
    ///
    /// # Errors
    /// As [`Self::parse`]'s.
    pub fn parse_beside(mut layers: Layers, proxies: Option<Proxies>) -> Result<Self, Problems> {
        let mut parsed = Self::parse_each(&mut layers);
        if let (Some(settings), Some(proxies)) = (&mut parsed, proxies) {
            settings.upstream_proxy = proxies;
        }
        layers.refuse_both("policy", "allowed-domains");
        if let Some(settings) = &parsed {
            settings.check(&mut layers);
        }
        let (problems, warnings) = layers.finish();
        match parsed {
            Some(mut settings) if problems.is_empty() => {
                if let Some(domains) = settings.allowed_domains.take() {
                    settings.policy = PolicySource::AllowedDomains(domains);
                }
                settings.warnings = warnings;
                Ok(settings)
            }
            _ => Err(problems),
        }
    }

    /// What no setting can know alone.
    fn check(&self, layers: &mut Layers) {
        if self.listen.is_empty() {
            layers.refuse_setting("listen", "the proxy needs at least one address");
        }
        if let Some(shared) =
            self.admin_listen.iter().find(|address| address.port() != 0 && self.listen.contains(address))
        {
            layers.refuse_setting("admin-listen", &format!("{shared} is where the proxy listens: take another port"));
        }
        if let Some(Err(PolicyErrors(problems))) = self.allowed_domains.as_deref().map(Policy::from_allowed_domains) {
            for problem in problems {
                layers.refuse_setting("allowed-domains", &problem.message);
            }
        }
        if let (CaSource::Generate, Some(origin)) = (self.ca, layers.origin("ca-dir")) {
            layers.warn(format!("{origin} is ignored, because a CA is made at start: set --ca files to use that one"));
        }
        if self.upstream_proxy_auth_file.is_some() && self.upstream_proxy == Proxies::default() {
            layers.refuse_setting(
                "upstream-proxy-auth-file",
                "there is no proxy that it is for: set --upstream-proxy too",
            );
        }
        if self.ca == CaSource::Files && self.ca_name_constraints {
            let reason = "only a CA that is made here can be constrained: set --ca generate too, or remove this";
            layers.refuse_setting("ca-name-constraints", reason);
        }
    }
}

/// Where the health port is, as far as `layers` say: for a program that asks it and needs nothing else.
///
/// # Errors
/// What is wrong with that setting.
pub fn admin_listen(mut layers: Layers) -> Result<Vec<SocketAddr>, Problems> {
    let listeners = layers.many("admin_listen", value::listener);
    listeners.ok_or_else(|| layers.finish().0)
}

/// The row of a setting that the code names.
fn row(name: &str) -> &'static Setting {
    TABLE.iter().find(|setting| setting.name == name).expect("the code names only settings that the table has")
}

#[cfg(test)]
mod tests;
