import sys

import httpx

what, base = sys.argv[1:]
path = "/sse?events=3" if what == "stream" else "/zen"
with httpx.stream("GET", base + path) as response:
    response.raise_for_status()
    for line in response.iter_lines():
        print(line, flush=True)
