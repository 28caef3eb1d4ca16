//! A sidecar in this process with everything that it could reach: an origin, and a name server that knows no name.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandgate_sidecar::audit::{Observer, Record};
use sandgate_sidecar::serve::{self, Running};
use sandgate_sidecar::settings::{Layers, PolicySource, Settings};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The one name that has an address.
pub(crate) const NAME: &str = "allowed.test";
/// Where it has an origin, without TLS.
pub(crate) const PORT: u16 = 8480;
const POLICY: &str = "\
version: 1
destinations:
- {id: plain, host: allowed.test, scheme: http, ports: [8480], private_cidrs: [127.0.0.0/8]}
- {id: tls, host: allowed.test}
- {id: wild, host: '*.wild.allowed.test', scheme: http}
- {id: pass, host: '*.pass.allowed.test', tls: passthrough}
";
/// Longer than all of the sidecar's own waits together: what is open then hangs.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// What was reached.
#[derive(Default)]
pub(crate) struct Seen {
    /// Names that the name server was asked for.
    pub(crate) resolved: Vec<String>,
    /// What the sidecar says it has dialled.
    pub(crate) dialled: Vec<(String, u16)>,
    /// Request heads that reached the origin.
    pub(crate) heads: Vec<Vec<u8>>,
}

/// The sidecar and what is around it, all on one thread.
pub(crate) struct World {
    runtime: Runtime,
    proxy: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    named: RefCell<Vec<(String, u16)>>,
    _running: Running,
}

impl World {
    /// Starts all of it.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let running = runtime.block_on(start(&seen));
        let proxy = running.proxy_addresses()[0];
        Self { runtime, proxy, seen, named: RefCell::default(), _running: running }
    }

    /// Sends `input`, ends the sending half, and reads to the end of the answer.
    pub(crate) fn exchange(&self, input: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(self.proxy).await.expect("the proxy accepts");
            let (mut read, mut write) = stream.split();
            let mut answer = Vec::new();
            let send = async {
                // The sidecar may have refused and closed before it has read all of it.
                let _ = write.write_all(input).await;
                let _ = write.shutdown().await;
            };
            let receive = read.read_to_end(&mut answer);
            let ended = timeout(HANGS_AFTER, async { tokio::join!(send, receive) }).await;
            assert!(ended.is_ok(), "still open after {HANGS_AFTER:?}");
            answer
        })
    }

    /// `named` and what the input before it named: a request whose client got its answer early, or left, may reach the
    /// origin while the next input is already under way.
    pub(crate) fn also_named_before(&self, named: Vec<(String, u16)>) -> Vec<(String, u16)> {
        let before = self.named.replace(named.clone());
        named.into_iter().chain(before).collect()
    }

    /// What was reached since the last call.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().expect("nothing panics with the lock"))
    }
}

async fn start(seen: &Arc<Mutex<Seen>>) -> Running {
    let origin = TcpListener::bind((origin_address(), PORT)).await.expect("an address of this process alone");
    let dns = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let settings = settings(&dns.local_addr().expect("a bound socket").to_string());
    tokio::spawn(serve_origin(origin, Arc::clone(seen)));
    tokio::spawn(answer_names(dns, Arc::clone(seen)));
    let observed = Arc::clone(seen);
    let observer: Observer = Arc::new(move |record: &Record| {
        if let (Some(_), Some(host), Some(port)) = (record.address, &record.host, record.port) {
            observed.lock().expect("nothing panics with the lock").dialled.push((host.to_string(), port));
        }
    });
    serve::start(settings, Some(observer)).await.expect("the sidecar starts")
}

/// Seeds name a port, so it can't be any free one; but loopback has 16 million addresses.
fn origin_address() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | a & 63, b, c | 1)
}

fn settings(dns: &str) -> Settings {
    let resolve = format!("{NAME}:{PORT}:{}", origin_address());
    let variables = [
        ("SANDGATE_LISTEN", "127.0.0.1:0"),
        ("SANDGATE_ADMIN_LISTEN", "none"),
        ("SANDGATE_CA", "generate"),
        ("SANDGATE_AUDIT_LOG", "none"),
        ("SANDGATE_CONTINUE_WAIT", "10ms"),
        ("SANDGATE_CONNECT_HEAD_TIMEOUT", "2s"),
        ("SANDGATE_INNER_HEAD_TIMEOUT", "2s"),
        ("SANDGATE_HANDSHAKE_TIMEOUT", "2s"),
        ("SANDGATE_FIRST_BYTE_TIMEOUT", "2s"),
        ("SANDGATE_IDLE_BODY_TIMEOUT", "2s"),
        ("SANDGATE_DNS", dns),
        ("SANDGATE_RESOLVE", &resolve),
    ];
    let mut layers = Layers::default();
    layers.add_variables(&variables.map(|(name, value)| (name.into(), value.into())));
    let mut settings = Settings::parse(layers).expect("the settings are valid");
    settings.policy = PolicySource::Text(POLICY.to_owned());
    settings
}

/// Takes one request from each connection, and ends it with its answer.
async fn serve_origin(origin: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = origin.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if !matches!(stream.read_until(b'\n', &mut head).await, Ok(1..)) {
                    break;
                }
            }
            if head.is_empty() {
                return;
            }
            seen.lock().expect("nothing panics with the lock").heads.push(head);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
            // What is left unread would reset the connection, and the answer with it.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        });
    }
}

/// Says of every name that it does not exist (RFC 1035 4.1.1), and notes it.
async fn answer_names(dns: UdpSocket, seen: Arc<Mutex<Seen>>) {
    let mut message = [0; 1500];
    while let Ok((length, client)) = dns.recv_from(&mut message).await {
        let question = &mut message[..length];
        seen.lock().expect("nothing panics with the lock").resolved.push(name_in(question));
        question[2] |= 0x80;
        question[3] = 3;
        let _ = dns.send_to(question, client).await;
    }
}

fn name_in(question: &[u8]) -> String {
    let (mut labels, mut rest) = (Vec::new(), &question[12..]);
    while let Some((length @ 1.., after)) = rest.split_first() {
        let (label, next) = after.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = next;
    }
    labels.join(".")
}
