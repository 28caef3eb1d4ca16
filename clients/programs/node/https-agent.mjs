import https from "node:https";

import agents from "https-proxy-agent";

const [what, base] = process.argv.slice(2);
const agent = new agents.HttpsProxyAgent(process.env.HTTPS_PROXY);
https.get(base + (what === "stream" ? "/sse?events=3" : "/zen"), { agent }, (response) => {
  if (response.statusCode !== 200) {
    console.error(response.statusCode, response.statusMessage);
    process.exitCode = 1;
  }
  response.pipe(process.stdout);
});
