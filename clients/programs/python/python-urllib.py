import sys
import urllib.request

what, base = sys.argv[1:]
path = "/sse?events=3" if what == "stream" else "/zen"
with urllib.request.urlopen(base + path) as response:
    for line in response:
        print(line.decode(), end="", flush=True)
