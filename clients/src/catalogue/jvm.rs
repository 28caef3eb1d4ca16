//! The JVM's own clients.

use super::client;
use crate::client::{Client, Version};

const JAVA: Version = Version::Printed(&["java", "-version"]);

/// In the order of the table.
pub(super) const CLIENTS: &[Client] = &[
    client("Java HttpClient", JAVA, &["java", "-cp", "installed/java", "Client", "new"]),
    client("Java URLConnection", JAVA, &["java", "-cp", "installed/java", "Client", "old"]),
];
