//! Listening on all addresses of both families, where the machine has both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted: room for a burst of them, which the kernel may cut down to its own limit.
const BACKLOG: i32 = 4096;

/// Listens on `address`. `[::]` means all addresses of both families; on a machine without IPv6 those are IPv4's.
///
/// # Errors
/// Why it can't.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match open(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_missing_family(&error) => {
            open((IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()).into())
        }
        opened => opened,
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    // A restarted process must not wait for connections of the one before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_missing_family(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let port = bind("[::]:0".parse().unwrap()).unwrap().local_addr().unwrap().port();
        let listener = bind(SocketAddr::from(([0_u16; 8], port))).unwrap();
        let client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.port(), client.local_addr().unwrap().port());
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(bind(taken.local_addr().unwrap()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
