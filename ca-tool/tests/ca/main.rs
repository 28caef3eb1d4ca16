//! Drives the real `sandgate-ca`, and lets OpenSSL, Python and Debian's tools judge what it makes.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod clients;
mod constraints;
mod generate;
mod harness;
mod imported;
mod inspect;
mod kill;
mod refused;
mod rotate;
mod secret;
