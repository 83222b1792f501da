# SPDX-License-Identifier: Apache-2.0
"""What an error of Redis means."""

from __future__ import annotations

import pytest
from redis import exceptions

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
