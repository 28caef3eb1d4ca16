import { request } from "playwright-core";

const [, base] = process.argv.slice(2);
const context = await request.newContext();
const response = await context.get(base + "/zen");
if (!response.ok()) {
  console.error(response.status(), response.statusText(), await response.text());
  process.exit(1);
}
process.stdout.write(await response.text());
await context.dispose();
