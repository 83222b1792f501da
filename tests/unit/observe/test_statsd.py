# SPDX-License-Identifier: Apache-2.0
"""What a StatsD server gets to see: a real one on loopback, as far as UDP goes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from tests.unit.observe.conftest import Listener, MakeClient
from wsgi_ws.observe import statsd


def wait_until(condition: Callable[[], object]) -> None:
    """Let greenlets run until something is true."""
    with gevent.Timeout(30):
        while not condition():
            gevent.sleep(0.001)


# --- the form of a line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [
        pytest.param({}, "hits:1|c", id="plain"),
        pytest.param({"prefix": "ws."}, "ws.hits:1|c", id="prefix, nothing added to it"),
        pytest.param({"suffix": "_x"}, "hits_x:1|c", id="suffix"),
        pytest.param({"prefix": "a.", "suffix": ".b"}, "a.hits.b:1|c", id="both"),
        pytest.param({"global_tags": ("a", "b:c")}, "hits:1|c|#a,b:c", id="DogStatsD tags"),
        pytest.param(
            {"global_tags": ("a", "b:c"), "tag_prefix": "@", "tag_separator": ";"},
            "hits:1|c|@a;b:c",
            id="DogStatsD tags with other separators",
        ),
        pytest.param({"telegraf": True}, "hits:1|c", id="Telegraf without tags"),
        pytest.param(
            {"global_tags": ("b:c", "d:e"), "telegraf": True},
            "hits,b=c,d=e:1|c",
            id="Telegraf tags",
        ),
        pytest.param(
            {"global_tags": ("b:c",), "telegraf": True, "prefix": "p.", "suffix": ".s"},
            "p.hits.s,b=c:1|c",
            id="Telegraf tags with prefix and suffix",
        ),
    ],
)
def test_a_counter_is_one_line(
    make_client: MakeClient, listener: Listener, options: dict[str, Any], line: str
) -> None:
    make_client(**options).incr("hits")
    assert listener.packets() == [line]


def test_a_counter_may_count_more_than_one(make_client: MakeClient, listener: Listener) -> None:
    make_client().incr("hits", 3)
    assert listener.packets() == ["hits:3|c"]


def test_a_gauge_is_one_line(make_client: MakeClient, listener: Listener) -> None:
    make_client(global_tags=("a",)).gauge("size", 7)
    assert listener.packets() == ["size:7|g|#a"]


def test_the_packages_other_kinds_have_the_same_form(
    make_client: MakeClient, listener: Listener
) -> None:
    make_client(prefix="p.", global_tags=("a",)).timing("t", 1.5)
    assert listener.packets() == ["p.t:1.500000|ms|#a"]


def test_tags_come_in_the_order_global_then_the_processs_then_the_metrics(
    make_client: MakeClient, listener: Listener
) -> None:
    make_client(["worker:1"], global_tags=("env:x",)).incr("hits", tags=["reason:y"])
    assert listener.packets() == ["hits:1|c|#env:x,worker:1,reason:y"]


def test_tags_need_not_be_ascii(make_client: MakeClient, listener: Listener) -> None:
    make_client(global_tags=("ort:Zürich",)).incr("hits")
    assert listener.packets() == ["hits:1|c|#ort:Zürich"]


# --- how it is sent ------------------------------------------------------------------------------


def test_without_a_buffer_each_metric_is_sent_at_once(
    make_client: MakeClient, listener: Listener
) -> None:
    client = make_client()
    client.incr("a")
    client.incr("b")
    assert listener.packets() == ["a:1|c", "b:1|c"]


def test_a_buffer_keeps_metrics_back_until_the_flush(
    make_client: MakeClient, listener: Listener
) -> None:
    client = make_client(max_buffer_size=100)
    client.incr("a")
    client.incr("b")
    before = listener.packets()
    client.flush()
    assert (before, listener.packets()) == ([], ["a:1|c\nb:1|c"])


@pytest.mark.parametrize(
    ("size", "packets"),
    [
        (12, ["a:1|c\nb:1|c", "c:1|c"]),
        (11, ["a:1|c", "b:1|c", "c:1|c"]),  # the seed's library counts each line's newline
    ],
)
def test_a_full_buffer_is_sent_before_it_would_overflow(
    make_client: MakeClient, listener: Listener, size: int, packets: list[str]
) -> None:
    client = make_client(max_buffer_size=size)
    for name in "abc":
        client.incr(name)
    client.flush()
    assert listener.packets() == packets


def test_no_packet_is_larger_than_the_buffer(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(max_buffer_size=100, global_tags=("ü" * 10,))
    for _ in range(50):
        client.incr("hits")
    client.flush()
    assert max(len(packet.encode()) for packet in listener.packets()) <= 100


def test_a_metric_larger_than_the_buffer_is_sent_alone(
    make_client: MakeClient, listener: Listener
) -> None:
    client = make_client(max_buffer_size=5)
    client.incr("a-long-name")
    client.incr("b")
    client.flush()
    assert listener.packets() == ["a-long-name:1|c", "b:1|c"]


def test_closing_sends_what_was_kept_back(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(max_buffer_size=100)
    client.incr("a")
    client.close()
    assert listener.packets() == ["a:1|c"]


def test_an_empty_flush_sends_nothing(make_client: MakeClient, listener: Listener) -> None:
    make_client(max_buffer_size=100).flush()
    assert listener.packets() == []


def test_a_mock_sends_nothing(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(mock=True)
    client.incr("hits")
    client.gauge("size", 1)
    client.close()
    assert listener.packets() == []


# --- what goes wrong -----------------------------------------------------------------------------


def test_nobody_listening_is_no_error(make_client: MakeClient, listener: Listener) -> None:
    listener.close()
    client = make_client()
    for _ in range(10):
        client.incr("hits")  # the kernel reports each refusal at the next send


def test_a_closed_client_is_silent(make_client: MakeClient, listener: Listener) -> None:
    client = make_client()
    client.close()
    client.incr("hits")
    assert listener.packets() == []


def test_a_host_that_can_not_be_resolved_warns_with_the_key(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    make_client(host="statsd.example")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "statsd.host 'statsd.example'" in record.getMessage()


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\udcff"], ids=["dots", "long", "bytes"])
def test_a_host_that_is_no_name_warns_too(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    make_client(host=host)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_without_its_host_a_client_is_silent(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(host="a b")
    client.incr("hits")
    assert listener.packets() == []


def test_a_tag_that_can_not_be_encoded_is_no_error(
    make_client: MakeClient, listener: Listener
) -> None:
    make_client(global_tags=("x:\udcff",)).incr("hits")  # a byte of the environment, not UTF-8
    (packet,) = listener.packets()
    assert packet.startswith("hits:1|c|#x:")


# --- a name whose address is unknown or changes ---------------------------------------------------


class Names:
    """Stands in for the resolver: the addresses of every name, none of which is asked for."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.asked = 0

    def getaddrinfo(self, _host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        kind = (socket.AF_INET, socket.SOCK_DGRAM, 0, "")
        return [(*kind, (address, port)) for address in self.addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


@pytest.fixture
def elsewhere(listener: Listener) -> Iterator[socket.socket]:
    """The same port at another address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", listener.port))
        other.setblocking(False)
        yield other


def test_a_name_may_be_unknown_at_first(
    make_client: MakeClient, listener: Listener, names: Names
) -> None:
    client = make_client(host="statsd")
    client.incr("lost")
    names.addresses = ["127.0.0.1"]
    client.look_up()
    client.incr("hits")
    assert listener.packets() == ["hits:1|c"]


def test_it_is_told_once_and_when_it_is_over(
    make_client: MakeClient, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = make_client(host="statsd")
    client.look_up()
    names.addresses = ["127.0.0.1"]
    client.look_up()
    client.look_up()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert (
        caplog.records[-1].getMessage() == "StatsD metrics go to 127.0.0.1, the address of statsd"
    )


def test_a_name_that_moves_is_followed(
    make_client: MakeClient, listener: Listener, names: Names, elsewhere: socket.socket
) -> None:
    names.addresses = ["127.0.0.1"]
    client = make_client(host="statsd")
    names.addresses = ["127.0.0.2"]
    client.look_up()
    client.incr("hits")
    assert (listener.packets(), elsewhere.recv(100)) == ([], b"hits:1|c")


def test_an_address_is_kept_as_long_as_the_name_has_it(
    make_client: MakeClient, listener: Listener, names: Names
) -> None:
    names.addresses = ["127.0.0.1"]
    client = make_client(host="statsd")
    names.addresses = ["127.0.0.2", "127.0.0.1"]
    client.look_up()
    client.incr("hits")
    assert listener.packets() == ["hits:1|c"]


def test_a_resolver_that_fails_later_changes_nothing(
    make_client: MakeClient, listener: Listener, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    names.addresses = ["127.0.0.1"]
    client = make_client(host="statsd")
    names.addresses = []
    client.look_up()
    client.incr("hits")
    assert listener.packets() == ["hits:1|c"]
    assert caplog.records == []


def test_an_error_asks_for_the_name_again(
    make_client: MakeClient, listener: Listener, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statsd, "LOOK_UP_PAUSE", 0.001)
    names.addresses = ["127.0.0.1"]
    client = make_client(host="statsd")
    listener.close()
    job = gevent.spawn(client.run)
    wait_until(lambda: names.asked == 2)  # the first of the job
    client.incr("refused")
    client.incr("told")
    wait_until(lambda: names.asked == 3)
    job.kill()


def test_it_asks_again_without_an_error(
    make_client: MakeClient, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statsd, "LOOK_UP_PAUSE", 0.001)
    monkeypatch.setattr(statsd, "LOOK_UP_INTERVAL", 0.002)
    job = gevent.spawn(make_client(host="statsd").run)
    wait_until(lambda: names.asked >= 5)
    job.kill()
