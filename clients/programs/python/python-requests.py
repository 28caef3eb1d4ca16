import sys

import requests

what, base = sys.argv[1:]
path = "/sse?events=3" if what == "stream" else "/zen"
with requests.get(base + path, stream=what == "stream") as response:
    response.raise_for_status()
    for line in response.iter_lines(decode_unicode=True):
        print(line, flush=True)
