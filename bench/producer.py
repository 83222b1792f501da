# SPDX-License-Identifier: Apache-2.0
"""Events as Superset writes them, faster than it does: ready-made commands, many per write."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

import hiredis

from wsgi_ws.superset.producer import STREAM_LIMIT, STREAM_LIMIT_FIREHOSE, event
from wsgi_ws.superset.realtime import channel_name
from wsgi_ws.superset.stream_names import channel_stream, global_stream

PREFIX = "async-events-"
PIPELINE = 200  # commands per write
URL = "/api/v1/chart/data/"
# Superset's event, with a place for what differs: made once, since making it takes as long as all
# the rest.
EVENT = json.dumps(event("%s", job_id="%s", user_id="1", result_url=URL + "%s", t="%d"))
EVENT = EVENT.replace('"%d"', "%d")

Pick = Callable[[int], str]


def channel(number: int) -> str:
    """The name of a user's session."""
    return str(uuid.UUID(int=number + 1))


def channels(count: int) -> list[str]:
    return [channel(i) for i in range(count)]


def in_turn(names: Sequence[str], miss: float = 0.0) -> Pick:
    """Event i's channel: one of `names` in turn, and others' for a share of `miss`."""
    others = [channel(10**9 + i) for i in range(5000)]
    missing = round(miss * 10)

    def pick(i: int) -> str:
        tens, digit = divmod(i, 10)
        if digit < missing:
            return others[(tens * missing + digit) % len(others)]
        return names[(tens * (10 - missing) + digit - missing) % len(names)]

    return pick


class Producer:
    """A connection that only writes events."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self._sent = 0

    def close(self) -> None:
        self._socket.close()

    def push(
        self, count: int, pick: Pick, *, size: int = 0, streams: Iterable[str] = ("full",)
    ) -> list[bytes]:
        """Write `count` events as fast as Redis takes them; returns the entries' IDs.

        :param size: bytes of an event's JSON, if more than usual.
        :param streams: `full`, or `own` for the channel's stream.
        """
        ids: list[bytes] = []
        for start in range(0, count, PIPELINE):
            names = [pick(i) for i in range(start, min(count, start + PIPELINE))]
            events = [(name, self._event(name, size)) for name in names]
            for stream in streams:
                ids += self._write([_command(stream, *event) for event in events])
        return ids

    def past(self, rate: int, seconds: int, pick: Pick) -> None:
        """Write what has been published until now at `rate` events per second (below 1,000), into
        both streams; the second half of each came a millisecond after the first."""
        end = round(time.time() * 1000)
        ids = [end - seconds * 1000 + i * 1000 // rate for i in range(seconds * rate)]
        for start in range(0, len(ids), PIPELINE):
            commands = []
            for i in range(start, min(len(ids), start + PIPELINE)):
                name = pick(i)
                data = self._event(name, 0)
                commands.append(_command("own", name, data, b"%d" % ids[i]))
                commands.append(_command("full", name, data, b"%d" % (ids[i] + 1)))
            self._write(commands)

    def steady(self, rate: int, seconds: float, pick: Pick, *, size: int = 0) -> int:
        """Write `rate` events per second for some time; returns how many."""
        start, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - start) < seconds:
            due = min(int(elapsed * rate) + 1, sent + 1000)
            if due > sent:
                names = [pick(i) for i in range(sent, due)]
                self._write([_command("full", name, self._event(name, size)) for name in names])
                sent = due
            time.sleep(max(0.0, start + sent / rate - time.monotonic(), 0.0005))
        return sent

    def publish(self, rate: float, seconds: float, message: Callable[[int], bytes]) -> int:
        """Publish `rate` messages per second for some time, one by one; returns how many.

        :param message: the i-th one, as Superset 7 has it.
        """
        channel, start, sent = channel_name("").encode(), time.monotonic(), 0
        while time.monotonic() - start < seconds:
            self._write([_packed((b"PUBLISH", channel, message(sent)))])
            sent += 1
            time.sleep(max(0.0, start + sent / rate - time.monotonic()))
        return sent

    def publish_at_once(self, messages: Sequence[bytes]) -> None:
        """Publish messages as fast as Redis takes them."""
        channel = channel_name("").encode()
        for start in range(0, len(messages), PIPELINE):
            part = messages[start : start + PIPELINE]
            self._write([_packed((b"PUBLISH", channel, message)) for message in part])

    def _event(self, channel: str, size: int) -> bytes:
        self._sent += 1
        job, result = str(uuid.UUID(int=self._sent)), f"{self._sent:032x}"
        data = EVENT % (channel, job, result, time.monotonic_ns())
        if len(data) < size:
            data = data.replace(result, result + "x" * (size - len(data)), 1)
        return data.encode()

    def _write(self, commands: Sequence[bytes]) -> list[bytes]:
        self._socket.sendall(b"".join(commands))
        ids: list[bytes] = []
        while len(ids) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._socket.recv(65536))
            elif isinstance(reply, Exception):
                raise reply
            else:
                ids.append(reply)
        return ids


def _command(stream: str, channel: str, data: bytes, entry_id: bytes = b"*") -> bytes:
    if stream == "full":
        key, limit = global_stream(PREFIX), STREAM_LIMIT_FIREHOSE
    else:
        key, limit = channel_stream(PREFIX, channel), STREAM_LIMIT
    bound = (b"MAXLEN", b"~", b"%d" % limit)
    return _packed((b"XADD", key.encode(), *bound, entry_id, b"data", data))


def _packed(arguments: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(arguments) + b"".join(
        b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments
    )
