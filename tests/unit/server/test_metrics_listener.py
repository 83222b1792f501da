# SPDX-License-Identifier: Apache-2.0
"""The socket that listens for Prometheus alone."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

from testbed.ports import free_port
from wsgi_ws.server.metrics_listener import MetricsListener


@pytest.fixture
def listener() -> Iterator[MetricsListener]:
    listener = MetricsListener()
    yield listener
    listener.close()


def port_of(listener: MetricsListener) -> int:
    assert listener.socket is not None
    port: int = listener.socket.getsockname()[1]
    return port


def test_it_listens_where_it_is_told(listener: MetricsListener) -> None:
    port = free_port()
    listener.listen("127.0.0.1", port, replacing=False)
    assert listener.socket is not None
    assert listener.socket.getsockname() == ("127.0.0.1", port)


def test_a_port_that_is_taken_is_an_error(listener: MetricsListener) -> None:
    port = free_port()
    listener.listen("127.0.0.1", port, replacing=False)
    with pytest.raises(OSError, match="in use"):
        MetricsListener().listen("127.0.0.1", port, replacing=False)


def test_it_stays_where_it_is_when_another_port_is_taken(listener: MetricsListener) -> None:
    first, second = MetricsListener(), free_port()
    first.listen("127.0.0.1", second, replacing=False)
    port = free_port()
    listener.listen("127.0.0.1", port, replacing=False)
    with pytest.raises(OSError, match="in use"):
        listener.listen("127.0.0.1", second, replacing=False)
    assert port_of(listener) == port
    first.close()


def test_a_master_that_replaces_another_shares_its_port(listener: MetricsListener) -> None:
    port = free_port()
    listener.listen("127.0.0.1", port, replacing=False)
    successor = MetricsListener()
    successor.listen("127.0.0.1", port, replacing=True)
    successor.close()


def test_nothing_listens_after_the_end(listener: MetricsListener) -> None:
    port = free_port()
    listener.listen("127.0.0.1", port, replacing=False)
    listener.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


def test_port_0_listens_nowhere(listener: MetricsListener) -> None:
    listener.listen("127.0.0.1", free_port(), replacing=False)
    listener.listen("127.0.0.1", 0, replacing=False)
    assert listener.socket is None
