"""Echo over the websockets package: websocket_echo.py wss://HOST:PORT/ws. Proxy and trust come from the environment."""

import asyncio
import sys

import websockets


async def main(url: str) -> None:
    async with websockets.connect(url, open_timeout=30, close_timeout=10) as socket:
        for message in ("hello", b"\x00\x01\x02", "x" * 70_000):
            await socket.send(message)
            answer = await asyncio.wait_for(socket.recv(), 30)
            if answer != message:
                raise ValueError(f"sent {len(message)} characters, got back {len(answer)} others")
    print("3 messages echoed")


try:
    asyncio.run(main(sys.argv[1]))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
