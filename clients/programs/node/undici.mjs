import { fetch } from "undici";

const [what, base] = process.argv.slice(2);
const response = await fetch(base + (what === "stream" ? "/sse?events=3" : "/zen"));
if (!response.ok) {
  console.error(response.status, response.statusText, await response.text());
  process.exit(1);
}
for await (const piece of response.body) {
  process.stdout.write(piece);
}
