//! Randomness and SHA-256, from the one cryptographic provider that the product links.

use std::sync::LazyLock;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};

/// The provider whose signature checks the self-test uses, and whose randomness makes serial numbers.
pub(crate) static PROVIDER: LazyLock<CryptoProvider> = LazyLock::new(default_provider);

/// The operating system gave no randomness.
#[derive(Debug)]
pub(crate) struct NoRandomness;

/// A serial number: 16 random octets, positive, and with its first octet never zero (RFC 5280 4.1.2.2).
pub(crate) fn serial_number() -> Result<rcgen::SerialNumber, NoRandomness> {
    let mut octets = [0_u8; 16];
    PROVIDER.secure_random.fill(&mut octets).map_err(|_| NoRandomness)?;
    octets[0] = (octets[0] & 0x7f) | 0x40;
    Ok(rcgen::SerialNumber::from_slice(&octets))
}

/// The SHA-256 digest of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3 by its name");
    suite.common.hash_provider.hash(bytes).as_ref().to_vec()
}

/// Octets as upper-case hexadecimal pairs with colons between them, as `openssl x509` prints them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standard() {
        // FIPS 180-4, the message "abc".
        assert!(hex(&sha256(b"abc")).starts_with("BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23"));
    }

    #[test]
    fn serial_numbers_are_positive_and_differ() {
        let (one, other) = (serial_number().unwrap().to_bytes(), serial_number().unwrap().to_bytes());
        assert_ne!(one, other);
        assert_eq!(one.len(), 16);
        assert!(one[0] < 0x80 && one[0] != 0);
    }
}
