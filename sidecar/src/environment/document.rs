//! The page on the environment as Markdown, made from the contract's table so that it cannot differ from what is set.

use std::fmt::Write;

use sandgate_contract::{
    APT_CONFIG_FILE, PHP_INI_FILE, PHP_SCAN_DIR, PROXY_PORT, TRUST_BUNDLE_FILE, TRUST_CA_FILE, TRUST_DIR,
    TRUST_STORE_FILE, TRUST_STORE_PASSWORD, WGETRC_FILE, environment,
};

const HEAD: &str = "\
# The environment of a program

<!-- Made from the table in contract/src/environment.rs. After a change there: UPDATE_DOCS=1 cargo test --test settings -->

A program uses the proxy because of its environment: variables say where the proxy is and which CA to trust. The webhook
sets them in a pod, and `sandgate-sidecar run` sets them for its command. For a program that uses `sandgate-sidecar serve`
without these, set them yourself:

    sandgate-sidecar serve --policy policy.yaml --ca generate --trust-dir /etc/proxy-ca
    eval \"$(sandgate-sidecar environment --trust-dir /etc/proxy-ca)\"     # in the shell that starts the program

`environment` prints one `export` line for each variable of the table below; `--listen` says where the proxy is if that is
not 127.0.0.1:8080. It asks no running proxy, and has the same table as the webhook and `run`.

At least these, which curl, git, Python, Go and Node need: `http_proxy`, `https_proxy` and `HTTPS_PROXY` with the proxy;
`SSL_CERT_FILE`, `GIT_SSL_CAINFO` and `REQUESTS_CA_BUNDLE` with `bundle.crt`; `NODE_EXTRA_CA_CERTS` with `ca.crt` and
`NODE_USE_ENV_PROXY=1`. `NO_PROXY` keeps what is on the same machine off the proxy.
";

/// The page as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    page += "\n## The trust files\n\n`--trust-dir` names the directory that `serve` writes them into. Nothing in it is secret: \
             the program must read it,\nand should not be able to write it. The files change when the CA does\n([rotation.md](rotation.md)).\n\n";
    page += "| file | what it is for |\n|---|---|\n";
    for (file, what) in files() {
        let _ = writeln!(page, "| `{file}` | {what} |");
    }
    let proxy = ([127, 0, 0, 1], PROXY_PORT).into();
    let _ = write!(page, "\n## The variables\n\nWith the proxy on `{proxy}` and the trust files in `{TRUST_DIR}`:\n\n");
    page += "| variable | value | who reads it |\n|---|---|---|\n";
    for (variable, value) in environment(proxy, TRUST_DIR, &[]) {
        let _ = writeln!(page, "| `{}` | `{}` | {} |", variable.name, value.replace('|', "\\|"), variable.clients);
    }
    page + TAIL
}

fn files() -> [(String, String); 6] {
    [
        (
            TRUST_BUNDLE_FILE.into(),
            "PEM: the public roots and the proxy's CA, for clients that trust one file alone".into(),
        ),
        (TRUST_CA_FILE.into(), "PEM: the proxy's CA alone, for clients that add a file to their own roots".into()),
        (
            TRUST_STORE_FILE.into(),
            format!("as `{TRUST_BUNDLE_FILE}`, as PKCS#12 for the JVM; its password is `{TRUST_STORE_PASSWORD}`"),
        ),
        (WGETRC_FILE.into(), format!("names `{TRUST_BUNDLE_FILE}` to wget, which reads no variable for that")),
        (APT_CONFIG_FILE.into(), format!("names `{TRUST_BUNDLE_FILE}` to apt")),
        (format!("{PHP_SCAN_DIR}/{PHP_INI_FILE}"), format!("names `{TRUST_BUNDLE_FILE}` to PHP")),
    ]
}

const TAIL: &str = "
- Rows marked \"documented\" follow the client's documentation; the others were measured through the proxy.
- Both cases of the proxy variables are set, because some clients read only one of them.
- `JAVA_TOOL_OPTIONS` and `PHP_INI_SCAN_DIR` are lists: what was there stays in front. Everything else is replaced.
- `ALL_PROXY` is not set: it would send protocols to the proxy that it refuses. `run` and the lines of `environment` take one
  away that is there: it would lead to another proxy for all that the table says nothing of. What clients make of it and of
  `NO_PROXY` is in [clients.md](clients.md).
- A client that ignores its environment needs its own settings: the proxy as above, and `bundle.crt` as its roots. One that
  pins certificates needs `tls: passthrough` in the policy ([policy.md](policy.md)).
";
