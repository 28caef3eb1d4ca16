//! Programs that people call, and package managers.

use super::client;
use crate::client::{Client, Version};

const NODE: &str = "npm";
const CURL: Version = Version::Printed(&["curl", "--version"]);
const WGET: Version = Version::Printed(&["wget", "--version"]);
const CHROMIUM: Version = Version::Printed(&["chromium", "--version"]);

/// In the order of the table.
pub(super) const CLIENTS: &[Client] = &[
    client("curl", CURL, &["sh", "-e", "programs/shell/curl.sh"]).probed(),
    client("wget", WGET, &["sh", "-e", "programs/shell/wget.sh"]).probed(),
    client("git", Version::Printed(&["git", "--version"]), &["sh", "-e", "programs/shell/git.sh"]).whole().probed(),
    client("apt", Version::Printed(&["apt-get", "--version"]), &["sh", "-e", "programs/shell/apt.sh"]).whole(),
    client("pip", Version::Pinned("pypi", "pip"), &["sh", "-e", "programs/shell/pip.sh"]).whole().slow(),
    client("uv", Version::Pinned("pypi", "uv"), &["sh", "-e", "programs/shell/uv.sh"]).whole().slow(),
    client("npm", Version::Pinned(NODE, "npm"), &["sh", "-e", "programs/shell/npm.sh"]).whole(),
    client("pnpm", Version::Pinned(NODE, "pnpm"), &["sh", "-e", "programs/shell/pnpm.sh"]).whole().slow(),
    client("yarn 1", Version::Pinned(NODE, "yarn"), &["sh", "-e", "programs/shell/yarn.sh"]).whole().slow(),
    client("yarn", Version::Pinned(NODE, "@yarnpkg/cli-dist"), &["sh", "-e", "programs/shell/yarn-berry.sh"]).whole(),
    client("bun add", Version::Pinned(NODE, "@oven/bun-linux-x64"), &["sh", "-e", "programs/shell/bun-install.sh"])
        .whole(),
    client("cargo", Version::Printed(&["cargo", "--version"]), &["sh", "-e", "programs/shell/cargo.sh"]).whole().slow(),
    client("go mod download", Version::Printed(&["go", "version"]), &["sh", "-e", "programs/shell/go.sh"]).whole(),
    client("Maven", Version::Printed(&["mvn", "--version"]), &["sh", "-e", "programs/shell/maven.sh"]).whole(),
    client("Gradle", Version::Printed(&["gradle", "--version"]), &["sh", "-e", "programs/shell/gradle.sh"])
        .whole()
        .slow(),
    client("gem", Version::Printed(&["gem", "--version"]), &["sh", "-e", "programs/shell/gem.sh"]).whole(),
    client("Chromium, headless", CHROMIUM, &["sh", "-e", "programs/shell/chromium.sh"]).whole().remedy(
        "it takes the proxy from the variables, and its roots from no file. Put the CA into the database of \
         its user: `mkdir -p $HOME/.pki/nssdb`, then with certutil of the package `libnss3-tools` \
         `certutil -d sql:$HOME/.pki/nssdb -N --empty-password` where there is none yet, and \
         `certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n sandgate -i $NODE_EXTRA_CA_CERTS`. Playwright and \
         Puppeteer start the same browser.",
    ),
    client("Chromium, with the CA in its database", CHROMIUM, &["sh", "-e", "programs/shell/chromium-nss.sh"]).whole(),
    client("curl, bundle over Debian's", CURL, &["sh", "-e", "programs/shell/curl-store.sh"]),
    client("wget, bundle over Debian's", WGET, &["sh", "-e", "programs/shell/wget-store.sh"]),
    client("curl, SSL_CERT_DIR", CURL, &["sh", "-e", "programs/shell/curl-directory.sh"]),
    client("curl, update-ca-certificates", CURL, &["sh", "-e", "programs/shell/curl-update.sh"]),
    client("psql", Version::Printed(&["psql", "--version"]), &["sh", "-e", "programs/shell/psql.sh"]).whole().remedy(
        "it speaks a protocol of its own and has no notion of an HTTP proxy. There is no setting: what it \
         needs has to be allowed by the pod's NetworkPolicy, or it is not reachable.",
    ),
];
