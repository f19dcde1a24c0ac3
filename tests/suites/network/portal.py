"""Something that answers in the API's place: a captive portal in three dresses.

``python portal.py ADDRESS PORT DRESS CERTIFICATE`` with the dress ``plain`` (no TLS), ``page`` or ``redirect``.
"""

import contextlib
import re
import socket
import ssl
import sys
import threading
from email.utils import formatdate

PAGE = b"<html><title>Hotel WiFi</title>sign in</html>"
ANSWERS = {
    "plain": b"HTTP/1.1 302 Found\r\nLocation: http://login.invalid/\r\nContent-Length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://login.invalid/\r\nContent-Length: 0\r\n\r\n",
    "page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE),
}


def answer(raw: socket.socket, tls: ssl.SSLContext | None, data: bytes) -> None:
    """Answer everything the same."""
    with contextlib.suppress(OSError):
        raw.settimeout(5)
        with tls.wrap_socket(raw, server_side=True) if tls else raw as wire:
            while request := read_request(wire):
                head, _, body = data.partition(b"\r\n\r\n")
                date = f"\r\nDate: {formatdate(usegmt=True)}\r\n\r\n".encode()
                wire.sendall(head + date + (b"" if request.startswith(b"HEAD") else body))


def read_request(wire: socket.socket) -> bytes:
    """Read one request to its end; nothing when the client has gone."""
    request = b""
    while b"\r\n\r\n" not in request:
        data = wire.recv(65536)
        if not data:
            return b""
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    left = int(length[1]) - len(body) if length else 0
    while left > 0 and (data := wire.recv(min(left, 65536))):
        left -= len(data)
    return request


def main(address: str, port: str, dress: str, certificate: str) -> None:
    """Serve until killed."""
    tls = None
    if dress != "plain":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    with socket.create_server((address, int(port)), reuse_port=False) as listener:
        print("ready", flush=True)
        while True:
            raw, _ = listener.accept()
            threading.Thread(target=answer, args=(raw, tls, ANSWERS[dress]), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
