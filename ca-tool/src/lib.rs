//! CAs for a proxy that intercepts TLS: made, read from files, checked, rotated, and asked for certificates.
//!
//! The library never prints a private key, and no error of it quotes one.

pub mod authority;
pub mod constraints;
pub mod date;
pub mod directory;
pub mod files;
pub mod inspect;
pub mod issue;
pub mod key;
pub mod manifest;
pub mod profile;
pub mod rotate;

mod crypto;
mod der;
mod pem;

pub use authority::{Authority, AuthorityError, LeafRequest};
pub use constraints::{NameConstraints, San};
pub use directory::{CaDirectory, DirectoryError};
pub use key::KeyType;
pub use profile::Profile;
