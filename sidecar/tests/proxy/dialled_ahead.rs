//! Connections to origins that are made while the client's handshake goes on, before there is a request.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::Ipv4Addr;

use http::StatusCode;
use sandgate_testkit::client::read_all;
use sandgate_testkit::origin::Origin;
use sandgate_testkit::pki::TestCa;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::beside::{Beside, DEADLINE, ORIGINS, VERSIONS, setup, stream};
use crate::harness::status_of;

const OK: StatusCode = StatusCode::OK;

#[tokio::test]
async fn an_origin_is_dialled_before_the_request_and_the_request_uses_that() {
    for protocols in ORIGINS {
        for alpn in VERSIONS {
            let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
            let mut client = beside.client(alpn).await;
            beside.origin.wait_for_connections(DEADLINE, |connections| connections.len() == 1).await;
            for _ in 0..2 {
                assert_eq!(client.get(&beside.uri("/zen")).await.unwrap().status, 200);
            }
            assert_eq!(beside.origin.connections().len(), 1, "{protocols:?} {alpn}");
        }
    }
}

#[tokio::test]
async fn clients_that_come_at_once_share_what_is_dialled() {
    let beside = Beside::start(Origin::builder().protocols(ORIGINS[0]), &[]).await;
    let get = || async {
        let mut client = beside.client("h2").await;
        client.get(&beside.uri("/zen")).await.unwrap().status
    };
    assert_eq!(tokio::join!(get(), get(), get(), get()), (OK, OK, OK, OK));
    assert_eq!(beside.origin.connections().len(), 1);
}

/// A rule with lists may refuse what comes.
#[tokio::test]
async fn an_origin_of_which_a_request_may_be_refused_is_not_dialled_before_one_is_allowed() {
    for lists in ["    deny: [{paths: [/status/**]}]\n", "    allow: [{methods: [GET], paths: [/zen]}]\n"] {
        let origin = Origin::builder().start().await;
        let port = origin.port();
        let setup = setup(origin.ca(), port, lists, &[]).await;
        for (path, status, connections) in [("/status/200", 403, 0), ("/zen", 200, 1)] {
            let mut stream = stream(&setup, port).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: origin.test:{port}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(status_of(&read_all(&mut stream, DEADLINE).await), Some(status));
            assert_eq!(origin.connections().len(), connections, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_dialled_is_given_up_with_its_tunnel() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let setup = setup(&TestCa::new(), port, "", &["--handshake-timeout", "5m"]).await;
    let tunnel = stream(&setup, port).await;
    let (mut dialled, _) = timeout(DEADLINE, silent.accept()).await.expect("it is dialled").unwrap();
    assert!(dialled.read(&mut [0]).await.is_ok_and(|read| read == 1), "a ClientHello");
    drop(tunnel);
    let ended = timeout(DEADLINE, dialled.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the connection outlives its tunnel");
}
