# SPDX-License-Identifier: Apache-2.0
"""A Sentinel with a master and its replica, for fail-overs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from testbed.ports import free_port
from testbed.servers import RedisServer, eventually, redis_executable

MASTER = "events"  # by which a Sentinel knows it


class Sentinel:
    """A master, its replica and one Sentinel, which decides alone."""

    def __init__(
        self,
        start_redis: Callable[..., RedisServer],
        directory: Path,
        *options: str,
        password: str | None = None,
    ) -> None:
        """
        :param options: more lines of the Sentinel's configuration.
        :param password: of the master and its replica.
        """
        arguments = ["--repl-diskless-sync-delay", "0"]
        arguments += ["--masterauth", password] if password else []
        self.first = start_redis(*arguments, password=password)
        replicaof = ("--replicaof", f"127.0.0.1 {self.first.port}")
        self.second = start_redis(*replicaof, *arguments, password=password)
        eventually(
            lambda: self.second.client.info("replication")["master_link_status"] == "up",
            "the replica is in step",
        )
        self.port = free_port()
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {MASTER} 127.0.0.1 {self.first.port} 1",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 5000",
        ]
        configuration = directory / "sentinel.conf"  # Sentinel writes into it
        configuration.write_text("\n".join([*lines, *options]) + "\n")
        self.process = subprocess.Popen(
            [redis_executable(), str(configuration), "--sentinel"], stdout=subprocess.DEVNULL
        )
        self.environ = {
            "REDIS_STREAM_READ_BLOCK_MS": "200",
            "REDIS_PORT": "",
            "REDIS_SENTINELS": f"127.0.0.1:{self.port}",
            "REDIS_SENTINEL_MASTER": MASTER,
        }

    def await_replica(self, **options: Any) -> redis.Redis:
        """A client of the Sentinel, as soon as it knows the replica."""
        client = redis.Redis(port=self.port, **options)
        eventually(lambda: self._replicas(client), "Sentinel knows the replica")
        return client

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def master_port(self, client: redis.Redis) -> int:
        return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def _replicas(self, client: redis.Redis) -> object:
        try:
            return client.execute_command("SENTINEL", "REPLICAS", MASTER)
        except redis.ConnectionError:
            return None
