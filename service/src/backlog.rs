//! A bounded queue from many threads to one, which takes memory only for what waits in it. std's bounded channel takes
//! it for every place from the start, which for the two logs of a sidecar that has nothing to say are 400 KiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, channel};

/// A queue in which at most so many items wait.
#[must_use]
pub fn backlog<T>(places: usize) -> (Sender<T>, Receiver<T>) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = channel();
    (Sender { items: sender, waiting: Arc::clone(&waiting), places }, Receiver { items: receiver, waiting })
}

/// The end that items are put in at. Cheap to clone.
pub struct Sender<T> {
    items: mpsc::Sender<T>,
    waiting: Arc<AtomicUsize>,
    places: usize,
}

impl<T> Sender<T> {
    /// Puts an item in, where a place is free and somebody may take it out. Never waits.
    ///
    /// # Errors
    /// The item, where the queue is full or its receiver is gone.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        let place = |waiting| (waiting < self.places).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).is_err() {
            return Err(item);
        }
        self.items.send(item).map_err(|unsent| unsent.0)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), waiting: Arc::clone(&self.waiting), places: self.places }
    }
}

/// The end that items are taken from, in the order in which they came.
pub struct Receiver<T> {
    items: mpsc::Receiver<T>,
    waiting: Arc<AtomicUsize>,
}

impl<T> Receiver<T> {
    /// Waits for the next item. `None` when there is none, and no sender any more.
    #[must_use]
    pub fn recv(&self) -> Option<T> {
        self.items.recv().ok().inspect(|_| self.free())
    }

    /// The next item, if one waits.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.items.try_recv().ok().inspect(|_| self.free())
    }

    fn free(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn it_takes_what_it_has_places_for_and_gives_the_rest_back() {
        let (sender, receiver) = backlog(2);
        assert_eq!((sender.try_send(1), sender.try_send(2), sender.try_send(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(receiver.try_recv(), Some(1));
        assert_eq!((sender.clone().try_send(4), sender.try_send(5)), (Ok(()), Err(5)));
        assert_eq!((receiver.recv(), receiver.recv(), receiver.try_recv()), (Some(2), Some(4), None));
        drop(sender);
        assert_eq!(receiver.recv(), None);
    }

    #[test]
    fn without_a_receiver_the_item_comes_back() {
        let (sender, receiver) = backlog(2);
        drop(receiver);
        assert_eq!(sender.try_send(1), Err(1));
    }

    #[test]
    fn many_threads_lose_nothing_that_was_taken() {
        let (sender, receiver) = backlog(8);
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || (0..10_000).filter(|item| sender.try_send(*item).is_ok()).count())
            })
            .collect();
        drop(sender);
        let mut received = 0;
        while receiver.recv().is_some() {
            received += 1;
        }
        let sent: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert_eq!(received, sent);
    }
}
