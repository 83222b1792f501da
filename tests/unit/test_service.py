# SPDX-License-Identifier: Apache-2.0
"""How the service takes clients over, and what their `last_id` means to it."""

from __future__ import annotations

import _socket
import logging
import socket
from typing import cast

import gevent
import pytest

from wsgi_ws.config.keys import Settings, StatsdSettings
from wsgi_ws.http.auth import Identity
from wsgi_ws.http.handshake import Admitted
from wsgi_ws.http.plain import PlainServer
from wsgi_ws.service import Service, place_of
from wsgi_ws.sources.streams.stream_id import StreamId


def fail(*_: object) -> None:
    raise RuntimeError("a defect")


def test_a_client_whose_taking_over_fails_halfway_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(
        Settings(jwt_secret="s" * 32, statsd=StatsdSettings(mock=True)),
        "1",
        cast(PlainServer, None),
    )
    service.loop = gevent.get_hub().loop
    monkeypatch.setattr(service.registry, "subscribe", fail)
    client, server = socket.socketpair()
    sock = _socket.socket(fileno=server.detach())
    with client:
        with pytest.raises(RuntimeError):
            service.on_open(sock, Admitted(Identity("c"), "accept", last_id=None), b"")
        assert sock.fileno() == -1
        gevent.sleep(0.001)  # the end is told on the loop
        assert len(service.registry) == 0


@pytest.mark.parametrize(("last_id", "place"), [(None, None), ("5-1", StreamId(5, 1))])
def test_a_missing_or_correct_last_id_is_no_reason_to_warn(
    last_id: str | None, place: StreamId | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert place_of(last_id) == place
    assert caplog.records == []


@pytest.mark.parametrize("value", ["null", "5", "$", "5-1-2", "-5-1", "5-1\n", "1" * 16 + "-0"])
def test_a_malformed_last_id_is_ignored_with_a_warning(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert place_of(value) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_warning_about_a_last_id_is_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    place_of("\n" * 5000)
    (line,) = caplog.messages
    assert len(line) < 150
    assert "\n" not in line
