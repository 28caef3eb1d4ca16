//! The one name server: every name under the benchmark's domain has an address by what it begins with, so that a host
//! that no proxy has seen is there whenever one is needed.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use hickory_proto::op::{Message, Metadata};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use crate::protocol::Protocol;

/// What every name ends with. `example.com` would not do: a policy has to list it.
pub(crate) const DOMAIN: &str = "bench.test";
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);
const MAX_DATAGRAM: usize = 2048;

/// Answers until it is dropped.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let socket = UdpSocket::bind(ADDRESS).await.context("the name server's port")?;
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await?;
        if let Some(answer) = answer(&datagram[..length]) {
            socket.send_to(&answer, from).await?;
        }
    }
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_vec(question).ok()?;
    let query = request.queries.first()?;
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    let name = query.name().to_ascii();
    if let (Some(protocol), RecordType::A) = (Protocol::of(&name), query.query_type()) {
        response.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(A(protocol.origin()))));
    }
    response.to_vec().ok()
}
