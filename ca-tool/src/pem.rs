//! PEM (RFC 7468): certificates and one private key out of a file's text, and text out of DER.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Characters of base64 in a line (RFC 7468 2).
const LINE: usize = 64;

/// Why a PEM text could not be read. It says what is wrong with the envelope, and quotes nothing of the content.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// Every certificate of `text`, in its order.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Unreadable> {
    CertificateDer::pem_slice_iter(text.as_bytes()).map(|item| item.map_err(|error| unreadable(&error))).collect()
}

/// Every private key of `text`: PKCS#8, SEC1 or PKCS#1.
pub(crate) fn private_keys(text: &str) -> Result<Vec<PrivateKeyDer<'static>>, Unreadable> {
    PrivateKeyDer::pem_slice_iter(text.as_bytes()).map(|item| item.map_err(|error| unreadable(&error))).collect()
}

/// Whether `text` has a private key that a passphrase protects: PKCS#8's form, or OpenSSL's older one.
pub(crate) fn has_encrypted_key(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// DER as PEM with `label`.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(LINE) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn unreadable(error: &Error) -> Unreadable {
    Unreadable(match error {
        Error::MissingSectionEnd { .. } => "the file is cut off: an END line is missing",
        Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        Error::Base64Decode(_) => "its base64 is broken",
        Error::SectionTooLarge => "it is too large",
        _ => "it is not PEM",
    })
}
