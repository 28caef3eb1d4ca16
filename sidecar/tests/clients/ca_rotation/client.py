import ssl, sys, urllib.request
from urllib.parse import urlsplit
import grpc, httpx, requests

session, client, context = requests.Session(), httpx.Client(), ssl.create_default_context()
same = lambda message: message
def call(url):
    # A channel of its own, so that the handshake is a new one.
    with grpc.secure_channel(urlsplit(url).netloc, grpc.ssl_channel_credentials()) as channel:
        return channel.unary_unary("/sandgate.test.Echo/Unary", same, same)(b"", timeout=30)
ways = {
    "requests.Session": lambda url: session.get(url, timeout=30).raise_for_status(),
    "requests.get": lambda url: requests.get(url, timeout=30).raise_for_status(),
    "httpx.Client": lambda url: client.get(url, timeout=30).raise_for_status(),
    "httpx.get": lambda url: httpx.get(url, timeout=30).raise_for_status(),
    "ssl.SSLContext": lambda url: urllib.request.urlopen(url, context=context, timeout=30).read(),
    "urllib.urlopen": lambda url: urllib.request.urlopen(url, timeout=30).read(),
    "grpc": call,
}
for line in sys.stdin:
    way, url = line.split()
    try:
        ways[way](url)
        print("ok", flush=True)
    except Exception as error:
        print(type(error).__name__, str(error).replace("\n", " "), flush=True)
