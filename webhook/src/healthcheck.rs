//! `healthcheck`: asks a webhook's `/healthz`, for images without curl. It does not ask `/readyz`: a replica that waits for
//! the cluster is well.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long to wait before the next try.
const RETRY: Duration = Duration::from_millis(100);
/// How long one try may take; a webhook that needs more is not healthy.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// The most of an answer that is read for its status line, in bytes.
const MAX_STATUS_LINE: u64 = 1024;

/// Asks `http://ADDRESS/healthz` until it answers 200 or `wait` is over; at least once, for up to two seconds. An
/// unspecified address, as a listener has it, means loopback: `[::]` is ::1 and 127.0.0.1.
///
/// # Errors
/// A sentence that names each URL and what the last try of it met.
pub async fn healthcheck(address: SocketAddr, wait: Duration) -> Result<(), String> {
    let deadline = Instant::now() + wait;
    loop {
        let mut met = Vec::new();
        for address in reachable(address) {
            match timeout(TRY_TIMEOUT, ask(address)).await.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok(()) => return Ok(()),
                Err(error) => met.push(format!("http://{address}/healthz: {error}")),
            }
        }
        if timeout_at(deadline, sleep(RETRY)).await.is_err() {
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

async fn ask(address: SocketAddr) -> Result<(), String> {
    let line = status_line(address).await.map_err(|error| error.to_string())?;
    match line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)) {
        Some("200") => Ok(()),
        Some(status) => Err(format!("answered {status}")),
        None => Err("the answer is not HTTP; is this the health port?".to_owned()),
    }
}

async fn status_line(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
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

    const WELL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// Answers every connection with `answer`.
    fn answering(listener: TcpListener, answer: &'static [u8]) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer).await;
            }
        });
        serving
    }

    #[tokio::test]
    async fn a_listener_on_all_addresses_is_asked_on_loopback_of_both_families() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, listener.local_addr().unwrap().port()));
        let mut serving = answering(listener, WELL);
        assert_eq!(healthcheck(address, Duration::ZERO).await, Ok(()));
        serving.shutdown().await;
        let error = healthcheck(address, Duration::ZERO).await.unwrap_err();
        assert!(error.contains("http://[::1]:") && error.contains("http://127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn it_waits_for_a_webhook_that_starts_later() {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let check = tokio::spawn(healthcheck(address, Duration::from_secs(20)));
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
            (b"\x15\x03\x01\x00\x02\x02\x16\n", "not HTTP"),
            (b"", "closed without an answer"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let _serving = answering(listener, answer);
            let error = healthcheck(address, Duration::ZERO).await.unwrap_err();
            assert!(error.contains(expected) && error.contains(&address.to_string()), "{error}");
        }
    }
}
