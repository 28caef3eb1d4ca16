import axios from "axios";

const [what, base] = process.argv.slice(2);
if (what === "stream") {
  const response = await axios.get(base + "/sse?events=3", { responseType: "stream" });
  response.data.pipe(process.stdout);
} else {
  process.stdout.write((await axios.get(base + "/zen")).data);
}
