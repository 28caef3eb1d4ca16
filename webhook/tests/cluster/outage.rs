//! The API server goes away for a while.

use std::time::{Duration, Instant};

use sandgate_testkit::api_server::ApiServer;
use sandgate_webhook::health::Condition;
use sandgate_webhook::namespaces::NotKnown;

use crate::scene::{Scene, client, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_api_server_takes_nothing_away_and_afterwards_all_goes_on() {
    let server = tokio::task::spawn_blocking(ApiServer::start).await.unwrap();
    let admin = client(&server.admin()).await;
    let scene = Scene::on(admin, "outage").await;
    scene.create_renderings().await;
    scene.create_configurations().await;
    let replica = scene.replica("a");
    replica.ready().await;
    tokio::task::block_in_place(|| server.stop_api_server());
    eventually("the watches notice", async || {
        let errors = replica.metric("sandgate_webhook_watch_errors_total");
        if errors >= 5.0 { Ok(()) } else { Err(format!("{errors} errors")) }
    })
    .await;
    assert_eq!(replica.health.unmet(), Vec::<String>::new());
    assert_eq!(replica.cluster.namespaces.get("outage").await.unwrap().name, "outage");
    let start = Instant::now();
    let unknown = replica.cluster.namespaces.get("unknown").await.unwrap_err();
    assert!(matches!(unknown, NotKnown::Failed(_) | NotKnown::TooLate(_)), "{unknown}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let fresh = scene.replica("b");
    eventually("a new replica says why it waits", async || {
        let why = fresh.unmet(Condition::Certificate);
        if why.contains("the API server: ") { Ok(()) } else { Err(why) }
    })
    .await;
    tokio::task::block_in_place(|| server.start_api_server());
    fresh.ready().await;
    scene.set_bundle("first", "").await;
    let ca = scene.secret_text("ca.crt").await;
    eventually("repairs go on", async || if scene.bundles_are(&ca).await { Ok(()) } else { Err("not yet".to_owned()) })
        .await;
    eventually("every watch answers again", async || {
        let up = replica.metric("sandgate_webhook_watch_up");
        if up == 5.0 { Ok(()) } else { Err(format!("{up} of 5")) }
    })
    .await;
}
