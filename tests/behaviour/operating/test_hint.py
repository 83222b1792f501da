# SPDX-License-Identifier: Apache-2.0
"""Browsers come, but no stream does: the server says so once, and where the stream is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from websockets.sync.client import connect

from testbed.servers import ROOT, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish

IMPATIENT_CONFIGURATION = f"""
exec(open({str(ROOT / "gunicorn.conf.py")!r}).read())

def post_worker_init(worker):
    from wsgi_ws.sources.streams import source
    source.SILENCE_PATIENCE = source.SILENCE_INTERVAL = 0.1
"""


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.close()


@pytest.mark.parametrize(
    ("db", "other_prefix", "remedy"),
    [
        (3, "", "in database 3 has events: set redis.db (REDIS_DB) to 3;"),
        (0, "bi-", "bi-full in database 0 has events: set redisStreamPrefix (REDIS_STREAM_PREFIX)"),
    ],
    ids=["another database", "another prefix"],
)
def test_where_the_stream_is_instead_is_hinted_at_once(
    start_server: Callable[..., Server],
    own_redis: RedisServer,
    prefix: str,
    tmp_path: Path,
    db: int,
    other_prefix: str,
    remedy: str,
) -> None:
    with redis.Redis(port=own_redis.port, db=db) as elsewhere:
        publish(elsewhere, other_prefix or prefix, new_channel())
    configuration = tmp_path / "impatient.conf.py"
    configuration.write_text(IMPATIENT_CONFIGURATION)
    server = start_server(redis_port=own_redis.port, arguments=["-c", str(configuration)])
    with connect(server.url(), additional_headers={"Cookie": cookie("c")}):
        eventually(lambda: remedy in server.log_text(), "the hint")
    assert server.log_text().count("there is no stream") == 1
