//! What a Service is: one port of loopback, whose connections go in turn to the processes that are ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandgate_testkit::client::http_get;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::program::Program;
use crate::stage::RUNTIME;

/// How often readiness is asked for.
const PROBE: Duration = Duration::from_millis(50);

#[derive(Clone)]
struct Endpoint {
    reviews: SocketAddr,
    admin: SocketAddr,
    ready: bool,
}

pub(crate) struct Service {
    pub(crate) port: u16,
    endpoints: Arc<Mutex<Vec<Endpoint>>>,
}

impl Service {
    pub(crate) fn open() -> Self {
        let listener = RUNTIME.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoints = Arc::<Mutex<Vec<Endpoint>>>::default();
        RUNTIME.spawn(probe(Arc::clone(&endpoints)));
        RUNTIME.spawn(accept(listener, Arc::clone(&endpoints)));
        Self { port, endpoints }
    }

    pub(crate) fn add(&self, program: &Program) {
        let endpoint = Endpoint { reviews: program.reviews, admin: program.admin, ready: false };
        self.endpoints.lock().unwrap().push(endpoint);
    }

    pub(crate) fn remove(&self, program: &Program) {
        self.endpoints.lock().unwrap().retain(|endpoint| endpoint.admin != program.admin);
    }

    pub(crate) fn is_ready(&self, program: &Program) -> bool {
        self.endpoints.lock().unwrap().iter().any(|endpoint| endpoint.admin == program.admin && endpoint.ready)
    }
}

async fn probe(endpoints: Arc<Mutex<Vec<Endpoint>>>) {
    loop {
        let known = endpoints.lock().unwrap().clone();
        for endpoint in known {
            let ready = http_get(endpoint.admin, "/readyz").await.is_ok_and(|fetched| fetched.status.is_success());
            let mut endpoints = endpoints.lock().unwrap();
            let found = endpoints.iter_mut().find(|found| found.admin == endpoint.admin);
            found.into_iter().for_each(|found| found.ready = ready);
        }
        tokio::time::sleep(PROBE).await;
    }
}

async fn accept(listener: TcpListener, endpoints: Arc<Mutex<Vec<Endpoint>>>) {
    let mut turn = 0;
    while let Ok((mut stream, _)) = listener.accept().await {
        let ready: Vec<SocketAddr> = {
            let endpoints = endpoints.lock().unwrap();
            endpoints.iter().filter(|endpoint| endpoint.ready).map(|endpoint| endpoint.reviews).collect()
        };
        turn += 1;
        // Where nobody is ready the connection is closed at once. Who ended since the last probe is passed over, as
        // one that is being ended is in a cluster, where nobody waits for a probe to know that.
        let start = turn % ready.len().max(1);
        tokio::spawn(async move {
            let mut other = None;
            for address in ready.iter().cycle().skip(start).take(ready.len()) {
                other = TcpStream::connect(address).await.ok();
                if other.is_some() {
                    break;
                }
            }
            let Some(mut other) = other else { return };
            let _broken = copy_bidirectional(&mut stream, &mut other).await;
        });
    }
}
