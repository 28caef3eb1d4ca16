import asyncio
import sys

import aiohttp

what, base = sys.argv[1:]


async def main():
    path = "/sse?events=3" if what == "stream" else "/zen"
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(base + path) as response:
            response.raise_for_status()
            async for line in response.content:
                print(line.decode(), end="", flush=True)


asyncio.run(main())
