// GET with Node's fetch: fetch_get.mjs URL. Proxy and trust come from the environment alone (NODE_USE_ENV_PROXY=1 from
// Node 22.21 on, NODE_EXTRA_CA_CERTS).
try {
  const response = await fetch(process.argv[2], { signal: AbortSignal.timeout(30_000) });
  const body = await response.text();
  if (response.ok) {
    console.log(response.status, body.length, body.trim().split("\n")[0]);
  } else {
    console.error(`${response.status} ${response.statusText}: ${body.trim()}`);
    process.exitCode = 1;
  }
} catch (error) {
  console.error(`${error.name}: ${error.message}: ${error.cause?.message ?? ""} ${error.cause?.code ?? ""}`.trim());
  process.exitCode = 1;
}
