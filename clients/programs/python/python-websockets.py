import sys

from websockets.sync.client import connect

what, base = sys.argv[1:]
with connect(base.replace("https:", "wss:") + "/ws") as socket:
    for text in ["event 0", "event 1", "event 2"] if what == "stream" else ["Keep it logically awesome."]:
        socket.send(text)
        print(socket.recv(), flush=True)
