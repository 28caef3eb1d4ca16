//! The name server, asked by hand-made messages over UDP and TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use sandgate_testkit::dns::{Answer, DnsServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::DEADLINE;

fn question(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Query;
    message.metadata.id = 77;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message.to_vec().unwrap()
}

async fn ask_within(server: SocketAddr, name: &str, record_type: RecordType, within: Duration) -> Option<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&question(name, record_type), server).await.unwrap();
    let mut answer = [0; 4096];
    let length = tokio::time::timeout(within, socket.recv(&mut answer)).await.ok()?.unwrap();
    Some(Message::from_vec(&answer[..length]).unwrap())
}

async fn ask(server: &DnsServer, name: &str, record_type: RecordType) -> (ResponseCode, Vec<String>) {
    let answer = ask_within(server.addr(), name, record_type, DEADLINE).await.expect("an answer");
    assert_eq!(answer.metadata.id, 77);
    (answer.metadata.response_code, answer.answers.iter().map(|record| record.data.to_string()).collect())
}

async fn ask_tcp(server: &DnsServer, name: &str, record_type: RecordType) -> Message {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let message = question(name, record_type);
    stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
    stream.write_all(&message).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn each_family_has_its_own_records() {
    let server = DnsServer::start().await;
    server.addresses("Origin.test", &["127.0.0.1", "::1", "127.0.0.2"]);
    assert_eq!(ask(&server, "origin.TEST.", RecordType::A).await.1, ["127.0.0.1", "127.0.0.2"]);
    assert_eq!(ask(&server, "origin.test.", RecordType::AAAA).await.1, ["::1"]);
    assert_eq!(ask_tcp(&server, "origin.test.", RecordType::A).await.answers.len(), 2);
    let questions = server.wait_for_questions(3, DEADLINE).await;
    assert!(questions.iter().all(|question| question.name == "origin.test"));
    assert_eq!(questions.iter().map(|question| question.tcp).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn failures_have_their_codes_and_silence_has_none() {
    let server = DnsServer::start().await;
    server.set("failing.test", Answer::Failure);
    server.set("silent.test", Answer::Silence);
    server.set("refused.test", Answer::Refused);
    assert_eq!(ask(&server, "failing.test.", RecordType::A).await.0, ResponseCode::ServFail);
    assert_eq!(ask(&server, "refused.test.", RecordType::A).await.0, ResponseCode::Refused);
    assert_eq!(ask(&server, "unknown.test.", RecordType::A).await.0, ResponseCode::NXDomain);
    let silence = ask_within(server.addr(), "silent.test.", RecordType::A, Duration::from_millis(200)).await;
    assert!(silence.is_none());
    assert_eq!(server.questions().len(), 4, "the silent question arrived too");
}

#[tokio::test]
async fn an_answer_changes_after_so_many_questions() {
    let server = DnsServer::start().await;
    let addresses = |text: &str| vec![text.parse().unwrap()];
    let changing = Answer::Changing { first: addresses("192.0.2.1"), questions: 2, then: addresses("127.0.0.1") };
    server.set("rebinding.test", changing);
    for expected in ["192.0.2.1", "192.0.2.1", "127.0.0.1", "127.0.0.1"] {
        assert_eq!(ask(&server, "rebinding.test.", RecordType::A).await.1, [expected]);
    }
}

#[tokio::test]
async fn aliases_are_followed_and_loops_end() {
    let server = DnsServer::start().await;
    server.set("a.test", Answer::Alias("b.test".into()));
    server.set("b.test", Answer::Alias("c.test".into()));
    server.addresses("c.test", &["127.0.0.1"]);
    assert_eq!(ask(&server, "a.test.", RecordType::A).await.1, ["b.test.", "c.test.", "127.0.0.1"]);
    server.set("c.test", Answer::Alias("a.test".into()));
    assert_eq!(ask(&server, "a.test.", RecordType::A).await.1.len(), 16);
}

#[tokio::test]
async fn a_truncated_answer_is_whole_over_tcp() {
    let server = DnsServer::start().await;
    server.set("large.test", Answer::OnlyOverTcp(vec![Ipv4Addr::LOCALHOST.into()]));
    let truncated = ask_within(server.addr(), "large.test.", RecordType::A, DEADLINE).await.unwrap();
    assert!(truncated.metadata.truncation && truncated.answers.is_empty());
    assert_eq!(ask_tcp(&server, "large.test.", RecordType::A).await.answers.len(), 1);
}
