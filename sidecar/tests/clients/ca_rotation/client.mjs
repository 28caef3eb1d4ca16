import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
    try {
        await (await fetch(line.split(" ")[1])).text();
        console.log("ok");
    } catch (error) {
        console.log(`${error.message}: ${error.cause?.code}: ${error.cause?.message}`);
    }
}
