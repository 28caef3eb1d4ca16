//! How this process shares out its file descriptors, so that what clients and origins use up is never the health port's.

/// For the health port with its 64 connections, listeners, files and signals.
const RESERVED: usize = 96;
/// Sockets that one name may need at once: two families, each asked of two servers.
const SOCKETS_OF_A_LOOKUP: usize = 4;
/// More than any kernel gives, and less than a semaphore takes.
const MOST: usize = 1 << 24;

/// How many of each there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Clients' connections.
    pub clients: usize,
    /// Connections to origins, in use and idle.
    pub origins: usize,
    /// Names that are being resolved.
    pub lookups: usize,
}

impl Descriptors {
    /// Shares out `limit` descriptors where `max_connections` clients are asked for: clients get what they ask for, but
    /// no more than half, and every share has room for one at least.
    #[must_use]
    pub fn share(limit: usize, max_connections: usize) -> Self {
        let limit = limit.min(MOST);
        let free = limit - RESERVED.min(limit / 2);
        let lookups = (free / (8 * SOCKETS_OF_A_LOOKUP)).max(1);
        let free = free.saturating_sub(lookups * SOCKETS_OF_A_LOOKUP);
        let clients = max_connections.min(free / 2).max(1);
        Self { clients, origins: free.saturating_sub(clients).max(1), lookups }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_they_ask_for_where_there_is_enough() {
        let shares = Descriptors::share(1 << 20, 4096);
        assert_eq!(shares.clients, 4096);
        assert!(shares.origins > 900_000);
        assert_eq!(Descriptors::share(usize::MAX, 4096).clients, 4096);
    }

    #[test]
    fn what_is_shared_out_leaves_the_health_port_its_own() {
        for limit in [256, 1024, 4096] {
            let shares = Descriptors::share(limit, 4096);
            let all = shares.clients + shares.origins + shares.lookups * SOCKETS_OF_A_LOOKUP;
            assert!(shares.clients < 4096 && shares.clients <= shares.origins, "{limit}: {shares:?}");
            assert_eq!(all, limit - RESERVED, "{limit}: {shares:?}");
        }
    }

    #[test]
    fn the_smallest_limit_leaves_one_of_each() {
        assert_eq!(Descriptors::share(1, 4096), Descriptors { clients: 1, origins: 1, lookups: 1 });
    }
}
