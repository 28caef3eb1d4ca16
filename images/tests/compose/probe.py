"""Tries to get out past the proxy, and prints what each way met, as JSON: {"way": "ENETUNREACH"}, or "sent"."""
import errno
import json
import os
import socket
import sys

marker, *forbidden = sys.argv[1:]
TIME = 1.5


def tried(way):
    try:
        way()
        return "sent"
    except socket.gaierror as error:
        return "no such name" if error.errno in (socket.EAI_NONAME, socket.EAI_AGAIN) else str(error)
    except TimeoutError:
        return "nothing came back"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def connect(address, kind):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as one:
        one.settimeout(TIME)
        one.connect((address, 80 if kind == socket.SOCK_STREAM else 53))
        one.send(marker.encode())


def lookup():
    socket.getaddrinfo(marker + ".test", 443)


result = {}
for address in forbidden:
    result["tcp " + address] = tried(lambda: connect(address, socket.SOCK_STREAM))
    result["udp " + address] = tried(lambda: connect(address, socket.SOCK_DGRAM))
result["dns"] = tried(lookup)
print(json.dumps(result))
