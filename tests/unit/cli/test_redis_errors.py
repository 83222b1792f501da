# SPDX-License-Identifier: Apache-2.0
"""What an error of Redis means."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import exceptions
from redis.sentinel import MasterNotFoundError

from testbed.configuration import load_with
from wsgi_ws.cli.redis_errors import explain
from wsgi_ws.sources.redis_replies import is_of_cluster


@pytest.mark.parametrize(
    "error",
    [
        exceptions.MovedError("11885 127.0.0.1:7702"),
        exceptions.AskError("11885 127.0.0.1:7702"),
        exceptions.ClusterDownError("Hash slot not served"),
        exceptions.ResponseError("MOVED 11885 127.0.0.1:7702"),
        exceptions.ResponseError("CLUSTERDOWN Hash slot not served"),
        exceptions.ResponseError("Command # 1 (XADD k) of pipeline caused error: MOVED 1 a:1"),
        exceptions.ResponseError("SELECT is not allowed in cluster mode"),
    ],
)
def test_a_cluster_is_known_by_its_errors_in_every_version_of_the_library(error: Exception) -> None:
    assert is_of_cluster(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.MasterDownError("Link with MASTER is down"),
        exceptions.ResponseError("MASTERDOWN Link with MASTER is down"),
        exceptions.ResponseError("WRONGTYPE Operation against a key"),
        exceptions.ResponseError("unknown command 'MOVED '"),
    ],
)
def test_no_other_error_is_a_cluster_s(error: Exception) -> None:
    assert not is_of_cluster(error)


def about(error: Exception, directory: Path, **environ: str) -> str:
    return explain(error, load_with(directory, environ=environ), container=True)


SILENT = exceptions.TimeoutError("Timeout reading from socket")


@pytest.mark.parametrize(
    "variable", [{"REDIS_HOST": "127.0.0.1"}, {"REDIS_UNIX_SOCKET_PATH": "/run/redis.sock"}]
)
def test_a_redis_that_is_silent_is_not_said_to_be_elsewhere(
    tmp_path: Path, variable: dict[str, str]
) -> None:
    text = about(SILENT, tmp_path, **variable)
    assert "takes the connection, but does not answer" in text
    assert "correct" not in text


@pytest.mark.parametrize("reason", ["Timeout connecting to server", "No route to host"])
def test_only_a_refused_connection_is_the_container_itself(tmp_path: Path, reason: str) -> None:
    assert "the container itself" not in about(exceptions.ConnectionError(reason), tmp_path)


def test_tls_that_is_not_answered_may_be_a_redis_that_hangs(tmp_path: Path) -> None:
    silent = exceptions.ConnectionError("_ssl.c:989: The handshake operation timed out")
    text = about(silent, tmp_path, REDIS_SSL="true")
    assert "speaks no TLS" in text
    assert "hangs" in text


ASKED = "Sentinel sentinel-1:26379 can't be asked"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (f"{ASKED} (Connection refused)", ("none of the Sentinels can be", "redis.sentinels")),
        (f"{ASKED} (Authentication required.)", ("redis.sentinelPassword",)),
        (
            f"{ASKED} (invalid username-password pair or user is disabled.)",
            ("redis.sentinelUsername", "redis.sentinelPassword"),
        ),
        (
            f"{ASKED} (Timeout reading from socket); Sentinel b:26379 doesn't know it",
            ("know no master", "redis.sentinelMaster (from environment variable"),
        ),
        ("Sentinel b:26379 says that it is down", ("know no master", "start it")),
    ],
)
def test_the_remedy_is_for_what_the_sentinels_answer(
    tmp_path: Path, answers: str, words: tuple[str, ...]
) -> None:
    error = MasterNotFoundError(f"no master 'events': {answers}")
    sentinels = {"REDIS_SENTINELS": "sentinel-1:26379", "REDIS_SENTINEL_MASTER": "events"}
    text = about(error, tmp_path, **sentinels)
    assert answers in text
    assert [word for word in words if word not in text] == []
