"""Refuses what is not below bench.test, as an addon of mitmproxy."""

from mitmproxy import http


def http_connect(flow):
    if not flow.request.host.endswith(".bench.test") or flow.request.port != 443:
        flow.response = http.Response.make(403)
