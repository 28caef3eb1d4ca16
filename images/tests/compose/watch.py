"""Prints each packet on any interface that is for a forbidden address or has the marker in it: `INTERFACE DESTINATION`."""
import os
import socket

forbidden = {socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text): text
             for text in os.environ["FORBIDDEN"].split()}
marker = os.environ["MARKER"].encode()
every_protocol = 3
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(every_protocol))
print("watching", flush=True)
while True:
    packet, (interface, *_) = packets.recvfrom(65535)
    version = packet[0] >> 4 if packet else 0
    destination = packet[16:20] if version == 4 else packet[24:40] if version == 6 else b""
    if destination in forbidden:
        print(interface, forbidden[destination], flush=True)
    elif marker in packet:
        print(interface, marker.decode(), flush=True)
