// Echo with Node's WebSocket (Node 22 on): websocket_echo.mjs wss://HOST:PORT/ws. Proxy and trust come from the
// environment alone.
if (typeof WebSocket === "undefined") {
  console.error("this Node has no WebSocket: use Node 22 or newer");
  process.exit(1);
}
const socket = new WebSocket(process.argv[2]);
const timer = setTimeout(() => fail("no answer within 30 seconds"), 30_000);

function fail(text) {
  console.error(text);
  process.exit(1);
}

socket.addEventListener("open", () => socket.send("hello"));
socket.addEventListener("error", (event) => fail(`${event.type}: ${event.message ?? event.error?.message ?? ""}`));
socket.addEventListener("message", (event) => {
  if (event.data !== "hello") fail(`sent "hello", got back ${JSON.stringify(event.data)}`);
  console.log("1 message echoed");
  clearTimeout(timer);
  socket.close();
});
