//! Go, Rust, Ruby, PHP and Perl.

use super::client;
use crate::client::{Client, Version};

const REQWEST: Version = Version::Pinned("cargo", "reqwest");
const PERL: Version = Version::Printed(&["perl", "-e", "printf '%vd', $^V"]);
const PHP: Version = Version::Printed(&["php", "--version"]);

/// In the order of the table.
pub(super) const CLIENTS: &[Client] = &[
    client("Go net/http", Version::Printed(&["go", "version"]), &["installed/go/bin/clients", "http"]).probed(),
    client("grpc-go", Version::Pinned("go", "google.golang.org/grpc"), &["installed/go/bin/clients", "grpc"]),
    client("reqwest, native roots", REQWEST, &["installed/rust/target/debug/clients", "native"]).probed(),
    client("reqwest, webpki roots", REQWEST, &["installed/rust/target/debug/clients", "webpki"]).remedy(
        "roots that are compiled in can't be added to from outside. Build it with the system's roots \
         (reqwest's default, `rustls-native-certs` elsewhere), which reads `SSL_CERT_FILE`, or add the file \
         in the code: `tls_certs_merge`.",
    ),
    client("Ruby Net::HTTP", Version::Printed(&["ruby", "--version"]), &["ruby", "programs/other/net-http.rb"])
        .probed()
        .remedy(
            "its requests go through the proxy, but it asks for the host's address first, to see whether that is \
         loopback. Nothing but the question leaves. Where nobody answers it, the request goes on through the \
         proxy after the question's time-out. There is no setting against it.",
        ),
    client("PHP curl", PHP, &["php", "programs/other/curl.php"]).probed(),
    client("PHP streams", PHP, &["php", "programs/other/streams.php"]).remedy(
        "`fopen` and `file_get_contents` read no variables. Name the proxy in a context: \
         `stream_context_create([\"http\" => [\"proxy\" => \"tcp://127.0.0.1:8080\", \
         \"request_fulluri\" => true]])`, the row below; or use PHP's curl.",
    ),
    client("PHP streams, context", PHP, &["php", "programs/other/streams-context.php"]).whole(),
    client(
        "Perl LWP",
        Version::Printed(&["perl", "-MLWP", "-e", "print LWP->VERSION"]),
        &["perl", "programs/other/lwp.pl"],
    )
    .probed(),
    client("Perl HTTP::Tiny", PERL, &["perl", "programs/other/http-tiny.pl"]),
];
