import sys

import urllib3

what, base = sys.argv[1:]
path = "/sse?events=3" if what == "stream" else "/zen"
response = urllib3.PoolManager().request("GET", base + path, preload_content=False)
if response.status != 200:
    sys.exit(f"{response.status} {response.reason}: {response.data.decode()}")
while piece := response.read1(65536):
    print(piece.decode(), end="", flush=True)
