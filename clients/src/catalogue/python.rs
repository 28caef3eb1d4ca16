//! Python's libraries.

use super::client;
use crate::client::{Client, Version};

const fn pypi(package: &'static str) -> Version {
    Version::Pinned("pypi", package)
}

const PYTHON: Version = Version::Printed(&["python", "--version"]);

/// In the order of the table.
pub(super) const CLIENTS: &[Client] = &[
    client("Python urllib", PYTHON, &["python", "programs/python/python-urllib.py"]).probed(),
    client("requests", pypi("requests"), &["python", "programs/python/python-requests.py"]).probed(),
    client("httpx", pypi("httpx"), &["python", "programs/python/python-httpx.py"]).probed(),
    client("aiohttp", pypi("aiohttp"), &["python", "programs/python/python-aiohttp.py"]).remedy(
        "it reads no variables unless the session is told to: `aiohttp.ClientSession(trust_env=True)`, the \
         row below.",
    ),
    client("aiohttp, trust_env", pypi("aiohttp"), &["python", "programs/python/python-aiohttp-trust-env.py"])
        .probed()
        .slow(),
    client("urllib3", pypi("urllib3"), &["python", "programs/python/python-urllib3.py"]).slow().remedy(
        "`PoolManager` reads no variables: `urllib3.ProxyManager(os.environ[\"HTTPS_PROXY\"])`, the row \
         below. Libraries on top of it, such as requests and boto3, read them.",
    ),
    client("urllib3, ProxyManager", pypi("urllib3"), &["python", "programs/python/python-urllib3-proxy.py"]),
    client("boto3", pypi("boto3"), &["python", "programs/python/python-boto3.py"]).whole(),
    client("openai", pypi("openai"), &["python", "programs/python/python-openai.py"]),
    client("anthropic", pypi("anthropic"), &["python", "programs/python/python-anthropic.py"]).slow(),
    client("huggingface_hub", pypi("huggingface_hub"), &["python", "programs/python/python-huggingface.py"]).whole(),
    client("Python websockets", pypi("websockets"), &["python", "programs/python/python-websockets.py"]).probed(),
    client("grpcio", pypi("grpcio"), &["python", "programs/python/python-grpcio.py"]).probed(),
];
