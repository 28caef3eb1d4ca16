//! A tunnel and nothing else: what the kernel takes of any proxy that hands bytes on, without TLS, HTTP or a policy. It is
//! no peer, for it can't see what it lets through; it shows how much of a figure no proxy can save.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::protocol::Protocol;

/// What is carried at once in one direction.
const BUFFER: usize = 64 * 1024;
const MAX_HEAD: usize = 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Serves until the process ends.
pub(crate) async fn serve(port: u16) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Accepted connections have it too.
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener: TcpListener = socket.listen(BACKLOG)?;
    loop {
        let (client, _) = listener.accept().await?;
        // A client that ends early is its own affair.
        tokio::spawn(async move { tunnel(client).await.ok() });
    }
}

async fn tunnel(mut client: TcpStream) -> anyhow::Result<()> {
    let mut head = Vec::with_capacity(MAX_HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < MAX_HEAD && client.read_buf(&mut head).await? > 0, "no CONNECT");
    }
    let authority = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let host = authority.strip_suffix(b":443").and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default();
    let Some(protocol) = Protocol::of(host) else {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await?;
        return Ok(());
    };
    let mut origin = TcpStream::connect((protocol.origin(), 443)).await?;
    origin.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER).await?;
    Ok(())
}
