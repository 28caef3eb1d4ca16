//! The version of Kubernetes, as a real API server and as one that says another says it.

use sandgate_webhook::cluster::client_of;
use sandgate_webhook::health::Condition;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::scene::{Scene, eventually, rendering};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_too_old_is_named_and_never_ready() {
    const OLD: &str = r#"{"major":"1","minor":"31","gitVersion":"v1.31.9","gitCommit":"","gitTreeState":"clean",
        "buildDate":"","goVersion":"","compiler":"gc","platform":"linux/amd64"}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            let length = OLD.len();
            let head = "content-type: application/json\r\nconnection: close";
            let response = format!("HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: {length}\r\n\r\n{OLD}");
            let _written = stream.write_all(response.as_bytes()).await;
        }
    });
    let old = client_of(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let scene = Scene::bare("version").await;
    let replica = scene.replica_with("a", old, &rendering("1"));
    eventually("it says why", async || {
        let why = replica.unmet(Condition::KubernetesVersion);
        if why.contains("kubernetes 1.31 is too old: sandgate needs 1.32 or later") { Ok(()) } else { Err(why) }
    })
    .await;
    let real = scene.replica("b");
    eventually("the real one will do", async || {
        let why = real.unmet(Condition::KubernetesVersion);
        if why.is_empty() { Ok(()) } else { Err(why) }
    })
    .await;
}
