//! Everything that talks to the API server, as tasks that run beside the server. None of them is on the admission path.

pub(crate) mod observe;
pub mod vitals;

use std::time::Duration;

/// How long any call but a watch may take.
pub(crate) const CALL_TIME: Duration = Duration::from_secs(10);
