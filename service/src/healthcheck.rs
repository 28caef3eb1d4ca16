//! `healthcheck`: asks a program's `/healthz`, for images without curl. It does not ask `/readyz`: a sidecar whose policy
//! is broken starts and refuses everything, and a webhook that waits for its cluster is well.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sandgate_contract::HEALTH_PATH;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long to wait before the next try.
const RETRY: Duration = Duration::from_millis(100);
/// How long one try may take; a program that needs more is not healthy.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// The most of an answer that is read for its status line, in bytes.
const MAX_STATUS_LINE: u64 = 1024;

/// Asks `http://ADDRESS/healthz` until it answers 200 or `wait` is over; at least once, for up to two seconds. An
/// unspecified address, as a listener has it, means loopback: `0.0.0.0` is 127.0.0.1, and `[::]` is ::1 and 127.0.0.1,
/// for where there is no IPv6 it became `0.0.0.0`.
///
/// # Errors
/// A sentence that names each URL and what the last try of it met.
pub async fn healthcheck(address: SocketAddr, wait: Duration) -> Result<(), String> {
    let deadline = Instant::now() + wait;
    let mut questions: Vec<_> =
        reachable(address).into_iter().map(|address| Question { address, last: None }).collect();
    loop {
        for question in &mut questions {
            if question.is_well(deadline).await {
                return Ok(());
            }
        }
        if timeout_at(deadline, sleep(RETRY)).await.is_err() {
            let met: Vec<_> = questions.iter().map(Question::met).collect();
            let tried = if wait.is_zero() { String::new() } else { format!("; tried for {wait:?}") };
            return Err(format!("{}{tried}", met.join("; ")));
        }
    }
}

fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    let loopback: &[IpAddr] = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(ip) if ip.is_unspecified() => &[IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)],
        _ => return vec![address],
    };
    loopback.iter().map(|ip| SocketAddr::new(*ip, address.port())).collect()
}

/// One address to ask, and what the last try met.
struct Question {
    address: SocketAddr,
    last: Option<String>,
}

impl Question {
    async fn is_well(&mut self, deadline: Instant) -> bool {
        // A try that the deadline cut short says less than the one before it.
        let limit = if self.last.is_none() { TRY_TIMEOUT } else { TRY_TIMEOUT.min(deadline - Instant::now()) };
        match timeout(limit, ask(self.address)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => self.last = Some(error),
            Err(_) => self.last = self.last.take().or_else(|| Some("no answer in time".into())),
        }
        false
    }

    fn met(&self) -> String {
        format!("http://{}{HEALTH_PATH}: {}", self.address, self.last.as_deref().unwrap_or("not asked"))
    }
}

async fn ask(address: SocketAddr) -> Result<(), String> {
    let line = status_line(address).await.map_err(|error| error.to_string())?;
    match line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)) {
        Some("200") => Ok(()),
        Some(status) => Err(format!("answered {status}")),
        None => Err("the answer is not HTTP; is this the health port?".into()),
    }
}

async fn status_line(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {HEALTH_PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    match BufReader::new(stream.take(MAX_STATUS_LINE)).read_line(&mut line).await {
        Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "closed without an answer")),
        Ok(_) => Ok(line),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    const WELL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    async fn listener() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    /// Answers every connection with `answer`, and `/readyz` with 503.
    fn answering(listener: TcpListener, answer: &'static [u8]) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let is_readiness = head[..read].starts_with(b"GET /readyz");
                let answer = if is_readiness { &b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..] } else { answer };
                let _ = stream.write_all(answer).await;
            }
        });
        serving
    }

    #[tokio::test]
    async fn a_program_that_is_not_ready_is_healthy() {
        let (address, listener) = listener().await;
        let _serving = answering(listener, WELL);
        assert_eq!(healthcheck(([0, 0, 0, 0], address.port()).into(), Duration::ZERO).await, Ok(()));
    }

    #[tokio::test]
    async fn a_listener_on_all_addresses_is_asked_over_ipv4_where_ipv6_does_not_answer() {
        let (address, listener) = listener().await;
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
        let mut serving = answering(listener, WELL);
        assert_eq!(healthcheck(address, Duration::ZERO).await, Ok(()));
        serving.shutdown().await;
        let error = healthcheck(address, Duration::ZERO).await.unwrap_err();
        assert!(error.contains("http://[::1]:") && error.contains("http://127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn it_waits_for_a_program_that_starts_later() {
        let (address, free) = listener().await;
        drop(free);
        let check = tokio::spawn(healthcheck(address, PATIENCE));
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let _serving = answering(listener, WELL);
        assert_eq!(check.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn it_names_what_the_last_try_met() {
        for (answer, expected) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "answered 503"),
            (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
            (b"\x15\x03\x01\x00\x02\x02\x16\n", "not HTTP"),
            (b"", "closed without an answer"),
        ] {
            let (address, listener) = listener().await;
            let _serving = answering(listener, answer);
            let error = healthcheck(address, Duration::ZERO).await.unwrap_err();
            assert!(error.contains(expected) && error.contains(&address.to_string()), "{error}");
        }
    }
}
