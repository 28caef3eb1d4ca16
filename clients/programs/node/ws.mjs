import WebSocket from "ws";

const [what, base] = process.argv.slice(2);
const texts = what === "stream" ? ["event 0", "event 1", "event 2"] : ["Keep it logically awesome."];
const socket = new WebSocket(base.replace("https:", "wss:") + "/ws");
socket.onopen = () => socket.send(texts.shift());
socket.onmessage = (event) => {
  console.log(event.data);
  if (texts.length > 0) socket.send(texts.shift());
  else socket.close();
};
socket.onerror = (event) => {
  console.error(event.error ?? event);
  process.exitCode = 1;
};
