# SPDX-License-Identifier: Apache-2.0
"""The least that a server in Python can do with an event, to compare latencies with.

A blocking loop, XREAD → send, on sockets that a thread has accepted: no event loop, no check of a
token, a frame or an error, no history, nothing that ever ends. What it takes from XADD to a client
is the machine's share: three processes that wake each other.

Finds PORT and REDIS_PORT in the environment.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import threading

import hiredis

from bench.producer import PREFIX
from wsgi_ws.event import frame_of, head_of
from wsgi_ws.http.handshake import GUID

Channels = dict[str, list[socket.socket]]


def accept(listener: socket.socket, channels: Channels) -> None:
    """Answer every handshake with 101, one at a time; any other request with 200."""
    while True:
        client, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        key = re.search(rb"sec-websocket-key: (\S+)", head, re.IGNORECASE)
        if key is None:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            client.close()
            continue
        accepted = base64.b64encode(hashlib.sha1(key.group(1) + GUID).digest())
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
        )
        channels.setdefault(channel_in(head), []).append(client)


def channel_in(head: bytes) -> str:
    """The channel of the cookie's token, whatever its signature."""
    token = re.search(rb"async-token=[^.]+\.([^.]+)", head)
    assert token is not None
    claims = json.loads(base64.urlsafe_b64decode(token.group(1) + b"=="))
    return str(claims["channel"])


def follow(redis: socket.socket, channels: Channels) -> None:
    """Read and send for ever."""
    reader, position = hiredis.Reader(), b"0-0"
    while True:
        redis.sendall(xread(position))
        while (reply := reader.gets()) is False:
            reader.feed(redis.recv(65536))
        if not reply:
            continue
        for entry_id, fields in reply[0][1]:
            head = head_of(fields[1])
            frame = frame_of(entry_id, fields[1], head)
            for client in channels.get(head.channel_id, ()):
                client.send(frame)
            position = entry_id


def xread(position: bytes) -> bytes:
    """The command, as Redis wants it."""
    arguments = (
        *(b"XREAD", b"COUNT", b"100", b"BLOCK", b"5000"),
        *(b"STREAMS", PREFIX.encode() + b"full", position),
    )
    return b"*%d\r\n" % len(arguments) + b"".join(
        b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments
    )


def main() -> None:
    port, redis_port = (int(os.environ[name]) for name in ("PORT", "REDIS_PORT"))
    channels: Channels = {}
    redis = socket.create_connection(("127.0.0.1", redis_port))
    redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=accept, args=(listener, channels), daemon=True).start()
    follow(redis, channels)


if __name__ == "__main__":
    main()
