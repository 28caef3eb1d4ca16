//! Drives the real `sandgate-ca`, and lets OpenSSL, Python and Debian's tools judge what it makes.

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
