# SPDX-License-Identifier: Apache-2.0
"""Random bytes before and after the handshake: the server lives, healthy clients miss nothing.

The seed is printed: `FUZZ_SEED=… pytest tests/rfc/test_fuzz.py` repeats a run's attacks,
though not their timing; `FUZZ_SECONDS` makes it longer.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish
from testbed.wire import CLOSE, CONTINUATION, PING, PONG, TEXT, frame, request

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 8)
HEALTHY_CLIENTS = 5
EVENTS_PER_SECOND = 50
ATTACKERS = 8  # connections at a time
COOKIE = cookie("00000000-0000-4000-8000-000000000000")


class Fuzzer:
    """Makes up what one hostile client sends."""

    def __init__(self, seed: int, number: int) -> None:
        self.random = random.Random(f"{seed} {number}")
        self._kinds: list[Callable[[], bytes]] = [
            self._noise,
            self._handshake_and_noise,
            self._handshake_and_frames,
            self._handshake_and_frames,
            self._damaged(self._handshake_and_frames),
            self._damaged(self._handshake),
            self._cut_off(self._handshake),
            self._cut_off(self._handshake_and_frames),
        ]

    def attack(self) -> list[bytes]:
        """The pieces that one connection sends."""
        data = self.random.choice(self._kinds)()
        cuts = sorted(self.random.randrange(len(data) + 1) for _ in range(self.random.randrange(4)))
        edges = itertools.pairwise([0, *cuts, len(data)])
        return [data[start:end] for start, end in edges]

    def _noise(self) -> bytes:
        return self.random.randbytes(self.random.choice([1, 10, 100, 1000, 20_000]))

    def _handshake(self) -> bytes:
        return request(Cookie=COOKIE)

    def _handshake_and_noise(self) -> bytes:
        return self._handshake() + self._noise()

    def _handshake_and_frames(self) -> bytes:
        count = self.random.randrange(1, 40)
        return self._handshake() + b"".join(self._frame() for _ in range(count))

    def _frame(self) -> bytes:
        opcode = self.random.choice([TEXT, CONTINUATION, PING, PONG, CLOSE, *range(16)])
        size = self.random.choice([0, 1, 2, 10, 125, 126, 127, 4096, 5000])
        payloads = [self.random.randbytes(size), b"a" * size, b"\x03\xe8" + b"a" * size]
        bits = self.random.choice([7, 16, 63, 64])
        return frame(
            opcode,
            self.random.choice(payloads),
            fin=not self._seldom(6),
            rsv=self.random.randrange(8) if self._seldom() else 0,
            mask=None if self._seldom() else self.random.randbytes(4),
            announced=self.random.getrandbits(bits) if self._seldom() else None,
        )

    def _seldom(self, times: int = 20) -> bool:
        return self.random.randrange(times) == 0

    def _damaged(self, kind: Callable[[], bytes]) -> Callable[[], bytes]:
        """The same with some bytes changed."""

        def make() -> bytes:
            data = bytearray(kind())
            for _ in range(self.random.randrange(1, 10)):
                data[self.random.randrange(len(data))] = self.random.randrange(256)
            return bytes(data)

        return make

    def _cut_off(self, kind: Callable[[], bytes]) -> Callable[[], bytes]:
        """The same without its end."""

        def make() -> bytes:
            data = kind()
            return data[: self.random.randrange(len(data))]

        return make


class Attacker:
    """One hostile connection, driven piece by piece."""

    def __init__(self, port: int, fuzzer: Fuzzer) -> None:
        self._pieces = iter(fuzzer.attack())
        self._is_patient, self._is_rude = fuzzer.random.random() < 0.3, fuzzer.random.random() < 0.5
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._answer = b""

    def step(self) -> bool:
        """Send a piece, or after the last one read what is there; False when it is over."""
        piece = next(self._pieces, None)
        try:
            if piece is not None:
                self._socket.settimeout(0.2)  # a server that has heard enough need not read on
                self._socket.sendall(piece)
                return True
            self._socket.settimeout(0.1 if self._is_patient else 0.0)
            self._answer = self._socket.recv(65536)
        except OSError:
            pass  # cut off, or nothing to read
        return False

    def leave(self) -> str:
        """Close, rudely with a reset; returns the status of the answer if there was one."""
        if self._is_rude:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        return self._answer[9:12].decode("latin-1") or "silence"


class Publisher(threading.Thread):
    """Superset, busy with the healthy clients' charts."""

    def __init__(self, redis_server: RedisServer, prefix: str, channels: list[str]) -> None:
        super().__init__()
        self._client, self._prefix = redis_server.client, prefix
        self.published: dict[str, list[str]] = {channel: [] for channel in channels}
        self._over = threading.Event()

    def run(self) -> None:
        """Publish, evenly over time."""
        while not self._over.wait(1 / EVENTS_PER_SECOND):
            for channel, jobs in self.published.items():
                _, event = publish(self._client, self._prefix, channel)
                jobs.append(event["job_id"])

    def finish(self) -> None:
        """No more events."""
        self._over.set()
        self.join(DEADLINE)


@contextlib.contextmanager
def healthy_client(server: Server, channel: str) -> Iterator[ClientConnection]:
    headers = {"Cookie": cookie(channel)}
    with connect(
        server.url(), additional_headers=headers, max_queue=None, compression=None, proxy=None
    ) as client:
        yield client


def fuzz(port: int, seed: int, seconds: float) -> Counter[str]:
    """Attack for a time, many connections interleaved; returns how the server answered."""
    timing = random.Random(seed)
    numbers = itertools.count()
    outcomes: Counter[str] = Counter()
    attackers: list[Attacker] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while len(attackers) < ATTACKERS:
            attackers.append(Attacker(port, Fuzzer(seed, next(numbers))))
        attacker = timing.choice(attackers)
        if not attacker.step():
            attackers.remove(attacker)
            outcomes[attacker.leave()] += 1
    for attacker in attackers:
        attacker.leave()
    return outcomes


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_healthy_clients_miss_nothing_while_others_send_garbage(
    start_server: Callable[..., Server], redis_server: RedisServer, prefix: str
) -> None:
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().getrandbits(32))
    print(f"FUZZ_SEED={seed}")
    server = start_server()
    (worker,) = server.pids()
    channels = [new_channel() for _ in range(HEALTHY_CLIENTS)]
    publisher = Publisher(redis_server, prefix, channels)

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(healthy_client(server, channel)) for channel in channels]
        descriptors = psutil.Process(worker).num_fds()
        publisher.start()
        stack.callback(publisher.finish)
        outcomes = fuzz(server.port, seed, SECONDS)
        publisher.finish()

        print(f"{outcomes.total()} attacks, answered with {dict(outcomes.most_common())}")
        assert outcomes["101"], "some attacks get past the handshake"
        assert outcomes["400"], "some do not"
        assert not outcomes["500"], "the server has an answer to everything"
        for channel, client in zip(channels, clients, strict=True):
            expected = publisher.published[channel]
            assert len(expected) > EVENTS_PER_SECOND
            got = [json.loads(client.recv(timeout=DEADLINE))["job_id"] for _ in expected]
            assert got == expected
        assert server.pids() == [worker], "the worker is the same"
        assert "Traceback" not in server.log_text()
        eventually(
            lambda: psutil.Process(worker).num_fds() <= descriptors,
            "every hostile connection's descriptor is closed",
        )
