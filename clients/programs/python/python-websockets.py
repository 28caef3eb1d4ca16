import asyncio
import sys

from websockets.asyncio.client import connect

what, base = sys.argv[1:]


async def main():
    async with connect(base.replace("https:", "wss:") + "/ws") as socket:
        for text in ["event 0", "event 1", "event 2"] if what == "stream" else ["Keep it logically awesome."]:
            await socket.send(text)
            print(await socket.recv(), flush=True)


asyncio.run(main())
