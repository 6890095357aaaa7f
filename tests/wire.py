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
        reply = self.reply or b""
        parts = [bytes([byte]) for byte in reply] if self.pause_s else [reply]
        try:
            for part in parts:
                peer.sendall(part)
                time.sleep(self.pause_s)
        except OSError:
            pass  # nobody waits any more


def _read(peer: socket.socket) -> bytes:
    """Read one request, or what there is of it if nobody sends the rest."""
    got = b""
    while not _is_whole(got) and (more := peer.recv(65536)):
        got += more
    return got


def _is_whole(got: bytes) -> bool:
    head, end, body = got.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")[1:] if end else []
    sizes = [int(line[16:]) for line in lines if line.startswith(b"Content-Length: ")]
    return bool(end) and len(body) >= sum(sizes)
