"""GET with the requests package: requests_get.py URL. Proxy and trust come from the environment alone."""

import sys

import requests

try:
    response = requests.get(sys.argv[1], timeout=30)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
if not response.ok:
    sys.exit(f"{response.status_code} {response.reason}: {response.text.strip()}")
print(response.status_code, len(response.content), response.text.strip().splitlines()[:1])
