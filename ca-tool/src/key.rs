//! Private keys of CAs: their types, making them, and reading them from PEM. Never shows one but to write its file.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::PrivateKeyDer;

use crate::authority::AuthorityError;
use crate::pem;

/// The kinds of key that a CA can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256: small, fast, and known to every client.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 4096 bits: slow to make and to sign with.
    Rsa4096,
}

impl KeyType {
    /// Makes a key of this type.
    ///
    /// # Errors
    /// [`AuthorityError::Generate`] when the cryptographic library fails.
    pub fn generate(self) -> Result<KeyPair, AuthorityError> {
        let made = match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        made.map_err(|_| AuthorityError::Generate)
    }
}

/// A CA's private key together with the PEM label that its encoding needs.
pub(crate) struct CaKey {
    pub(crate) pair: KeyPair,
    label: &'static str,
}

impl CaKey {
    /// A key that rcgen made, which is PKCS#8.
    pub(crate) fn generated(pair: KeyPair) -> Self {
        Self { pair, label: "PRIVATE KEY" }
    }

    /// The one private key of a PEM text.
    pub(crate) fn from_pem(text: &str) -> Result<Self, AuthorityError> {
        if pem::has_encrypted_key(text) {
            return Err(AuthorityError::KeyEncrypted);
        }
        let mut keys = pem::private_keys(text).map_err(|reason| AuthorityError::KeyUnreadable(reason.0))?;
        let key = match (keys.pop(), keys.len()) {
            (Some(key), 0) => key,
            (None, _) => return Err(AuthorityError::KeyMissing),
            (Some(_), _) => return Err(AuthorityError::KeyAmbiguous),
        };
        let label = match key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let pair = KeyPair::try_from(&key).map_err(|_| AuthorityError::KeyUnsupported)?;
        let known = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256];
        if !known.contains(&rcgen::PublicKeyData::algorithm(&pair)) {
            return Err(AuthorityError::KeyUnsupported);
        }
        Ok(Self { pair, label })
    }

    /// The key as PEM, in the encoding it came in.
    pub(crate) fn to_pem(&self) -> String {
        pem::encode(self.label, self.pair.serialized_der())
    }
}
