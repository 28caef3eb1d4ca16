//! Names of the files in a CA's directory, and of the Kubernetes objects made from it.

/// The CA's certificate, and the certificates above it if there are any.
pub const CA_CERT_FILE: &str = "ca.crt";
/// The CA's private key.
pub const CA_KEY_FILE: &str = "ca.key";
/// After a rotation: the certificate of the CA before this one. Its key is not kept.
pub const PREVIOUS_FILE: &str = "previous.crt";
/// After a rotation: both CAs' certificates, for whoever has to trust both.
pub const BUNDLE_FILE: &str = "bundle.crt";
/// The Secret that holds the CA in a cluster.
pub const CA_SECRET_NAME: &str = "sandbox-proxy-ca";
