//! Bodies on their way through: streamed frame by frame, counted, bounded, and ended when they may no longer run.
//!
//! Nothing is collected; what is in memory at any time is one frame, the windows of the two connections and, until its
//! response begins, a small part of a request's body.

mod request;
mod response;

use thiserror::Error;

use crate::refusal::Code;

pub use request::{Recovery, RequestBody};
pub use response::{Relayed, ResponseBody};

/// Why a body ended early. The connection that carries it is closed or its stream reset, so nobody takes it for whole.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The other side failed.
    #[error("{0}")]
    Peer(#[from] hyper::Error),
    /// The request's body is larger than the rule's limit.
    #[error("the request body is larger than the rule allows")]
    TooLarge,
    /// The response is over, and the rest of the request's body is not wanted.
    #[error("the response ended before the request body was sent")]
    NotWanted,
    /// The policy changed, and no longer allows the request.
    #[error("the policy no longer allows this request")]
    PolicyChanged,
    /// Nothing moved in either direction for too long.
    #[error("nothing was sent or received for too long")]
    Idle,
}

impl BodyError {
    /// The code that the audit line of the exchange carries.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Peer(_) | Self::NotWanted => Code::UpstreamClosed,
            Self::TooLarge => Code::BodyTooLarge,
            Self::PolicyChanged => Code::PolicyChanged,
            Self::Idle => Code::IdleTimeout,
        }
    }
}
