"""A server of raw bytes: what came over the wire, as it was, and whatever answer a test wants."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Self


class Wire:
    """A server that notes each request's bytes and gives one answer, as a context.

    Attributes:
        reply: What it answers; None: it closes the connection.
        pause_s: Between two bytes of an answer.
    """

    def __init__(self) -> None:
        self.reply: bytes | None = b""
        self.pause_s = 0.0
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.netloc = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def answer(self, body: object, status: int = 200, **headers: str) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}"]
        head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.reply = "\r\n".join([*head, "", ""]).encode() + text

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                self.requests.append(_read(peer))
                self._send(peer)

    def _send(self, peer: socket.socket) -> None:
        if not self.pause_s:
            peer.sendall(self.reply or b"")
            return
        try:
            for byte in self.reply or b"":
                peer.sendall(bytes([byte]))
                time.sleep(self.pause_s)
        except OSError:
            pass  # nobody waits any more


def _read(peer: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        got += peer.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    size = int(dict(line.split(b": ") for line in head.split(b"\r\n")[1:])[b"Content-Length"])
    while len(body) < size:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body
