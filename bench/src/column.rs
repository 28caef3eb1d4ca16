//! The columns of the table: what is measured, in which unit, and what it should be.

use std::fmt;

use crate::measure::tunnels;
use crate::protocol::Protocol;

/// Something that is measured of every proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Column {
    /// Processor time of a tunnel with a full handshake and one GET, in µs.
    Handshake,
    /// The same with a client that offers a post-quantum exchange of keys.
    HybridHandshake,
    /// The same with a resumed session.
    Resumption,
    /// Processor time of one GET on an open tunnel, in µs.
    KeepAlive(Protocol),
    /// The time until a host that nobody has asked for has answered, in ms: the median.
    NewHost,
    /// Of a hundred, all but one are as fast.
    NewHostSlow,
    /// Processor time of a refused CONNECT, in µs.
    Refusal,
    /// Processor time of 10^9 bytes to the client, in ms.
    Down(Protocol),
    /// Processor time of 10^9 bytes to the origin, in ms.
    Up(Protocol),
    /// Resident memory of an idle tunnel after one GET, in KiB, where so many are open.
    Idle(Protocol, Crowd),
    /// Resident memory when it listens, in MiB.
    MemoryAtStart,
    /// Resident memory at the end of a load, in MiB.
    MemoryInLoad,
    /// Resident memory a minute after that, in MiB.
    MemoryAfter,
    /// From its start as a process to the first answer of an origin, in ms.
    Start,
    /// GETs a second with so many workers, as many as there can be.
    Rate(usize),
    /// The time of all but one of a hundred of those, in ms.
    RateSlow(usize),
    /// How much of its cores the proxy used for that, in percent. `page/head.md` says what to make of it.
    RateBusy(usize),
}

/// How many tunnels are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Crowd {
    Thousand,
    /// Or as many as the limit of open files admits.
    TenThousand,
}

impl Column {
    pub(crate) const ALL: [Self; 26] = [
        Self::Handshake,
        Self::HybridHandshake,
        Self::Resumption,
        Self::KeepAlive(Protocol::Http1),
        Self::KeepAlive(Protocol::Http2),
        Self::NewHost,
        Self::NewHostSlow,
        Self::Refusal,
        Self::Down(Protocol::Http1),
        Self::Down(Protocol::Http2),
        Self::Up(Protocol::Http1),
        Self::Up(Protocol::Http2),
        Self::Idle(Protocol::Http1, Crowd::Thousand),
        Self::Idle(Protocol::Http1, Crowd::TenThousand),
        Self::Idle(Protocol::Http2, Crowd::Thousand),
        Self::Idle(Protocol::Http2, Crowd::TenThousand),
        Self::MemoryAtStart,
        Self::MemoryInLoad,
        Self::MemoryAfter,
        Self::Start,
        Self::Rate(1),
        Self::RateSlow(1),
        Self::Rate(2),
        Self::RateSlow(2),
        Self::RateBusy(1),
        Self::RateBusy(2),
    ];

    /// The largest part of the best peer's figure that this project wants to take, where it wants anything.
    pub(crate) fn target(self) -> Option<f64> {
        match self {
            Self::Handshake | Self::KeepAlive(_) => Some(0.75),
            Self::NewHost | Self::MemoryAtStart | Self::MemoryInLoad => Some(0.65),
            Self::Refusal => Some(0.7),
            Self::Down(_) | Self::Up(_) => Some(0.85),
            Self::Idle(..) => Some(0.5),
            _ => None,
        }
    }

    /// The first column of the measurement that its figures are of.
    pub(crate) fn measured_with(self) -> Self {
        match self {
            Self::NewHostSlow => Self::NewHost,
            Self::MemoryInLoad | Self::MemoryAfter => Self::MemoryAtStart,
            Self::RateSlow(workers) | Self::RateBusy(workers) => Self::Rate(workers),
            first => first,
        }
    }

    /// Whether one proxy can have a better figure than another.
    pub(crate) fn is_compared(self) -> bool {
        !matches!(self, Self::RateBusy(_))
    }

    /// Whether more of it is better.
    pub(crate) fn is_better_high(self) -> bool {
        matches!(self, Self::Rate(_))
    }

    /// The unit of its figures.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Handshake | Self::HybridHandshake | Self::Resumption | Self::KeepAlive(_) | Self::Refusal => "µs",
            Self::NewHost | Self::NewHostSlow | Self::Down(_) | Self::Up(_) | Self::Start | Self::RateSlow(_) => "ms",
            Self::Idle(..) => "KiB",
            Self::MemoryAtStart | Self::MemoryInLoad | Self::MemoryAfter => "MiB",
            Self::Rate(_) => "1/s",
            Self::RateBusy(_) => "%",
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake => write!(formatter, "CPU: handshake and GET"),
            Self::HybridHandshake => write!(formatter, "CPU: handshake and GET, ML-KEM offered"),
            Self::Resumption => write!(formatter, "CPU: resumption and GET"),
            Self::KeepAlive(protocol) => write!(formatter, "CPU: keep-alive GET, {protocol}"),
            Self::NewHost => write!(formatter, "new host, p50"),
            Self::NewHostSlow => write!(formatter, "new host, p99"),
            Self::Refusal => write!(formatter, "CPU: refused CONNECT"),
            Self::Down(protocol) => write!(formatter, "CPU: GB down, {protocol}"),
            Self::Up(protocol) => write!(formatter, "CPU: GB up, {protocol}"),
            Self::Idle(protocol, crowd) => {
                write!(formatter, "memory: idle tunnel of {}, {protocol}", tunnels(*crowd))
            }
            Self::MemoryAtStart => write!(formatter, "memory: at start"),
            Self::MemoryInLoad => write!(formatter, "memory: in load"),
            Self::MemoryAfter => write!(formatter, "memory: 60 s after"),
            Self::Start => write!(formatter, "start to first 200"),
            Self::Rate(workers) => write!(formatter, "GETs a second, {workers} worker{}", plural(*workers)),
            Self::RateSlow(workers) => write!(formatter, "p99 of those, {workers} worker{}", plural(*workers)),
            Self::RateBusy(workers) => write!(formatter, "its cores busy, {workers} worker{}", plural(*workers)),
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
