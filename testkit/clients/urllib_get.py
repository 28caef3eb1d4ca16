"""GET with Python's own urllib: urllib_get.py URL. Proxy and trust come from the environment alone."""

import sys
import urllib.error
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[1], timeout=30) as response:
        body = response.read()
        print(response.status, len(body), body.decode(errors="replace").strip().splitlines()[:1])
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code} {error.reason}: {error.read().decode(errors='replace').strip()}")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
