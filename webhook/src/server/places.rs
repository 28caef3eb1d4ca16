//! Which connections are open, and which of them goes when another needs its place. Never one with a request in flight.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Closed;

/// Requests that one address may have in flight: all that an API server handles at once by default (400 and 200), should
/// every one of them wait for us.
const REQUESTS_OF_ADDRESS: usize = 640;

/// The places for connections. Clones share them.
#[derive(Clone)]
pub(super) struct Places {
    most: usize,
    most_of_address: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
    requests: HashMap<IpAddr, usize>,
}

struct Entry {
    peer: IpAddr,
    in_flight: usize,
    used: bool,
    /// When it last changed: opened, handshake ended, request ended.
    last: Instant,
    signals: Arc<Signals>,
}

#[derive(Default)]
struct Signals {
    evicted: Notify,
    used: Notify,
}

/// A connection's place, until it is dropped.
pub(super) struct Place {
    places: Places,
    id: u64,
    peer: IpAddr,
    signals: Arc<Signals>,
}

/// A request in flight, until it is dropped.
pub(super) struct InFlight {
    places: Places,
    id: u64,
    peer: IpAddr,
}

/// How a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It had no request yet, since then.
    Never(Instant),
    /// A request is in flight.
    Now,
    /// The last request ended then.
    Since(Instant),
}

impl Places {
    pub(super) fn new(most: usize, most_of_address: usize) -> Self {
        Self { most, most_of_address, table: Arc::default() }
    }

    /// A place for a connection of `peer`, made by evicting another if need be: past its share one of its own, past all
    /// places one of the address that has the most unused ones; of these the longest unused.
    ///
    /// # Errors
    /// Where all that could go have requests in flight.
    pub(super) fn take(&self, peer: IpAddr) -> Result<Place, Closed> {
        let mut table = self.lock();
        if table.open.values().filter(|entry| entry.peer == peer).count() >= self.most_of_address {
            table.evict(peer).ok_or(Closed::RefusedShare)?;
        } else if table.open.len() >= self.most {
            let crowd = table.crowd().ok_or(Closed::RefusedFull)?;
            table.evict(crowd).ok_or(Closed::RefusedFull)?;
        }
        let id = table.next;
        table.next += 1;
        let signals = Arc::new(Signals::default());
        let entry = Entry { peer, in_flight: 0, used: false, last: Instant::now(), signals: Arc::clone(&signals) };
        table.open.insert(id, entry);
        Ok(Place { places: self.clone(), id, peer, signals })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere leaves counts that are whole: each change is one step.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The address with the most unused connections.
    fn crowd(&self) -> Option<IpAddr> {
        let mut unused: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.open.values().filter(|entry| entry.in_flight == 0) {
            *unused.entry(entry.peer).or_default() += 1;
        }
        unused.into_iter().max_by_key(|(_, count)| *count).map(|(peer, _)| peer)
    }

    /// Takes the longest unused connection of `peer` out.
    fn evict(&mut self, peer: IpAddr) -> Option<()> {
        let unused = self.open.iter().filter(|(_, entry)| entry.peer == peer && entry.in_flight == 0);
        let id = *unused.min_by_key(|(id, entry)| (entry.last, **id))?.0;
        self.open.remove(&id)?.signals.evicted.notify_one();
        Some(())
    }
}

impl Place {
    /// Waits until the connection has to go for another.
    pub(super) async fn evicted(&self) {
        self.signals.evicted.notified().await;
    }

    /// Waits for the first request.
    pub(super) async fn used(&self) {
        self.signals.used.notified().await;
    }

    /// The time of being unused begins now.
    pub(super) fn touch(&self) {
        if let Some(entry) = self.places.lock().open.get_mut(&self.id) {
            entry.last = Instant::now();
        }
    }

    pub(super) fn usage(&self) -> Use {
        match self.places.lock().open.get(&self.id) {
            Some(Entry { in_flight: 0, used: false, last, .. }) => Use::Never(*last),
            Some(Entry { in_flight: 0, last, .. }) => Use::Since(*last),
            // One that was evicted ends by that.
            _ => Use::Now,
        }
    }

    /// Counts a request as in flight; `None` when the peer has too many.
    pub(super) fn request(&self) -> Option<InFlight> {
        let mut table = self.places.lock();
        let requests = table.requests.entry(self.peer).or_default();
        if *requests >= REQUESTS_OF_ADDRESS {
            return None;
        }
        *requests += 1;
        if let Some(entry) = table.open.get_mut(&self.id) {
            entry.in_flight += 1;
            if !entry.used {
                entry.used = true;
                entry.signals.used.notify_one();
            }
        }
        Some(InFlight { places: self.places.clone(), id: self.id, peer: self.peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.id);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut table = self.places.lock();
        if let Some(entry) = table.open.get_mut(&self.id) {
            entry.in_flight -= 1;
            entry.last = Instant::now();
        }
        if let Some(requests) = table.requests.get_mut(&self.peer) {
            *requests -= 1;
            if *requests == 0 {
                table.requests.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    async fn take(places: &Places, peer: IpAddr) -> Place {
        advance(Duration::from_millis(1)).await;
        places.take(peer).map_err(Closed::name).unwrap()
    }

    fn is_evicted(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn past_its_share_an_address_loses_its_own_longest_unused_connection() {
        let places = Places::new(10, 2);
        let other = take(&places, TWO).await;
        let (first, second) = (take(&places, ONE).await, take(&places, ONE).await);
        advance(Duration::from_secs(1)).await;
        drop(first.request());
        let third = take(&places, ONE).await;
        assert!(is_evicted(&second), "the first one was used since");
        assert!(![&other, &first, &third].into_iter().any(is_evicted));
    }

    #[tokio::test(start_paused = true)]
    async fn past_all_places_the_address_with_the_most_unused_ones_loses_one() {
        let places = Places::new(3, 3);
        let oldest = take(&places, TWO).await;
        let (first, second) = (take(&places, ONE).await, take(&places, ONE).await);
        let _new = take(&places, TWO).await;
        assert!(is_evicted(&first));
        assert!(![&oldest, &second].into_iter().any(is_evicted));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_is_never_cut_off() {
        let places = Places::new(2, 1);
        let (one, two) = (take(&places, ONE).await, take(&places, TWO).await);
        let (running, also) = (one.request().unwrap(), two.request().unwrap());
        assert_eq!(one.usage(), Use::Now);
        assert_eq!(places.take(ONE).err(), Some(Closed::RefusedShare));
        let third = IpAddr::from([10, 0, 0, 3]);
        assert_eq!(places.take(third).err(), Some(Closed::RefusedFull));
        drop(running);
        assert!(places.take(third).is_ok() && is_evicted(&one) && !is_evicted(&two));
        drop(also);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_its_connection_ends() {
        let places = Places::new(1, 1);
        drop(take(&places, ONE).await);
        let one = take(&places, ONE).await;
        assert!(!is_evicted(&one));
        assert_eq!(places.lock().open.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_so_many_requests_in_flight_and_others_have_theirs() {
        let places = Places::new(10, 10);
        let (one, again, two) = (take(&places, ONE).await, take(&places, ONE).await, take(&places, TWO).await);
        let mut running: Vec<_> = (0..REQUESTS_OF_ADDRESS).map(|_| one.request().unwrap()).collect();
        assert!(again.request().is_none() && two.request().is_some());
        running.pop();
        assert!(again.request().is_some());
        drop(running);
        assert!(places.lock().requests.is_empty(), "nothing is kept of who is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn use_is_told_from_never_now_and_since() {
        let places = Places::new(1, 1);
        let place = take(&places, ONE).await;
        let opened = Instant::now();
        assert_eq!(place.usage(), Use::Never(opened));
        assert!(place.used().now_or_never().is_none());
        let request = place.request();
        assert!(place.used().now_or_never().is_some());
        advance(Duration::from_secs(1)).await;
        drop(request);
        assert_eq!(place.usage(), Use::Since(opened + Duration::from_secs(1)));
    }
}
