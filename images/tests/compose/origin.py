"""An HTTPS origin that answers every GET with the same line."""
import http.server
import ssl


class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"origin\n")


server = http.server.ThreadingHTTPServer(("", 443), Origin)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tests/origin/server.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
