import https from "node:https";

const [what, base] = process.argv.slice(2);
https.get(base + (what === "stream" ? "/sse?events=3" : "/zen"), (response) => {
  if (response.statusCode !== 200) {
    console.error(response.statusCode, response.statusMessage);
    process.exitCode = 1;
  }
  response.pipe(process.stdout);
});
