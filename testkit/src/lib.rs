//! What tests, benchmarks and the demo need: a test CA, an origin that also misbehaves, a DNS server, raw clients and a
//! harness for the sidecar's process. It is never linked into a product, and it knows nothing of the sidecar's code.
//!
//! Functions here panic where a test could only fail: a port that cannot be bound, a program that does not start.

pub mod api_server;
pub mod client;
pub mod digest;
pub mod dns;
pub mod origin;
pub mod pki;
pub mod raw_origin;
pub mod sidecar;
