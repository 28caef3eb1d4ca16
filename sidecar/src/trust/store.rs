//! The trust store of the JVM: PKCS#12 whose entries carry Java's trustedKeyUsage attribute, without which Java
//! ignores them. Holds no key, ever.

use p12_keystore::error::Error;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use rustls::pki_types::CertificateDer;
use sandgate_contract::TRUST_STORE_PASSWORD;

/// The least that strict PKCS#12 readers accept (NIST SP 800-132 5.2). The password is public, so more would only cost
/// start-up time.
const ITERATIONS: u32 = 1000;

/// The store with our `cas` and the public `roots`, under the password that Java's users expect.
pub(super) fn encode(cas: &[CertificateDer<'_>], roots: &[CertificateDer<'_>]) -> Result<Vec<u8>, Error> {
    let mut store = KeyStore::new();
    for (prefix, certificates) in [("sandgate-ca", cas), ("public-root", roots)] {
        for (number, certificate) in (1..).zip(certificates) {
            let entry = KeyStoreEntry::Certificate(Certificate::from_der(certificate)?);
            store.add_entry(&format!("{prefix}-{number}"), entry);
        }
    }
    store.writer(TRUST_STORE_PASSWORD).encryption_iterations(ITERATIONS).mac_iterations(ITERATIONS).write()
}

/// Whether `store` is one under that password, undamaged.
pub(super) fn is_whole(store: &[u8]) -> bool {
    KeyStore::from_pkcs12(store, TRUST_STORE_PASSWORD, Pkcs12ImportPolicy::Relaxed).is_ok()
}
