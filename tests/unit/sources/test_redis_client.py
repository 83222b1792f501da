# SPDX-License-Identifier: Apache-2.0
"""What redis-py is told for each form of the settings, and what is said about them in logs."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.config.meanings import sentinels
from wsgi_ws.sources.redis_client import connect, connect_outside_the_pool, describe

SENTINELS: dict[str, Any] = {"sentinels": sentinels(["a:1", "b"]), "sentinel_master": "m"}
EVERY_FORM = [
    RedisSettings(),
    RedisSettings(ssl=True),
    RedisSettings(unix_socket_path="/x"),
    RedisSettings(**SENTINELS),
    RedisSettings(**SENTINELS, ssl=True, sentinel_ssl=True),
]


def pool_of(settings: RedisSettings) -> Any:
    return connect(settings, read_timeout=7.5).connection_pool


def options_of(settings: RedisSettings) -> dict[str, Any]:
    return dict(pool_of(settings).connection_kwargs)


def sentinels_of(settings: RedisSettings) -> list[dict[str, Any]]:
    clients = pool_of(settings).sentinel_manager._clients.values()
    return [client.connection_pool.connection_kwargs for client in clients]


@pytest.mark.parametrize("settings", EVERY_FORM, ids=describe)
def test_every_form_has_the_callers_time_outs_and_no_retries(settings: RedisSettings) -> None:
    options = options_of(settings)
    assert options["socket_timeout"] == 7.5
    assert settings.unix_socket_path or options["socket_connect_timeout"] == 5.0
    assert options["retry"]._retries == 0
    assert options.get("retry_on_timeout", False) is False


@pytest.mark.parametrize("settings", EVERY_FORM, ids=describe)
def test_every_form_gives_the_replies_as_redis_sent_them(settings: RedisSettings) -> None:
    callbacks: dict[str, Callable[..., Any]] = connect(settings, read_timeout=1).response_callbacks
    entries = [[b"1-0", [b"data", b"{}"]]]
    assert callbacks["XREAD"]([[b"stream", entries]]) == [[b"stream", entries]]
    assert [callbacks[name](entries) for name in ("XRANGE", "XREVRANGE")] == [entries] * 2


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (RedisSettings(), Connection),
        (RedisSettings(ssl=True), SSLConnection),
        (RedisSettings(unix_socket_path="/x"), UnixDomainSocketConnection),
        (RedisSettings(unix_socket_path="/x", ssl=True), UnixDomainSocketConnection),
        (RedisSettings(**SENTINELS), SentinelManagedConnection),
        (RedisSettings(**SENTINELS, unix_socket_path="/x"), SentinelManagedConnection),
        (RedisSettings(**SENTINELS, ssl=True), SentinelManagedSSLConnection),
    ],
)
def test_the_form_decides_the_kind_of_connection(
    settings: RedisSettings, kind: type[object]
) -> None:
    assert pool_of(settings).connection_class is kind


def test_host_port_and_database_are_handed_over() -> None:
    options = options_of(RedisSettings(host="h", port=1, db=2))
    assert (options["host"], options["port"], options["db"]) == ("h", 1, 2)


def test_the_path_of_a_unix_socket_is_handed_over() -> None:
    options = options_of(RedisSettings(unix_socket_path="/x", db=2))
    assert (options["path"], options["db"]) == ("/x", 2)


@pytest.mark.parametrize("form", [{}, {"unix_socket_path": "/x"}, SENTINELS], ids=str)
def test_the_username_counts_with_a_password_only(form: dict[str, Any]) -> None:
    without = options_of(RedisSettings(username="u", **form))
    assert (without.get("username"), without.get("password")) == (None, None)
    both = options_of(RedisSettings(username="u", password="p", **form))
    assert (both["username"], both["password"]) == ("u", "p")


@pytest.mark.parametrize("form", [{}, SENTINELS], ids=str)
@pytest.mark.parametrize(
    ("cert_reqs", "validate", "verify", "check"),
    [
        ("required", True, "required", True),
        ("required", False, "required", False),
        ("none", True, "none", False),
        ("none", False, "none", False),
    ],
)
def test_what_is_checked_of_a_certificate(
    form: dict[str, Any], cert_reqs: str, validate: bool, verify: str, check: bool
) -> None:
    options = options_of(
        RedisSettings(ssl=True, ssl_cert_reqs=cert_reqs, validate_hostname=validate, **form)
    )
    assert (options["ssl_cert_reqs"], options["ssl_check_hostname"]) == (verify, check)


@pytest.mark.parametrize("form", [{}, SENTINELS], ids=str)
def test_the_files_of_tls_are_handed_over(form: dict[str, Any]) -> None:
    files: dict[str, Any] = {"ssl_ca_certs": "ca", "ssl_certfile": "cert", "ssl_keyfile": "key"}
    options = options_of(RedisSettings(ssl=True, **files, **form))
    assert {name: options[name] for name in files} == files


# --- a connection of one's own -------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Accepts connections and answers the PING with which each begins."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as sock:
        thread = threading.Thread(target=_answer_pings, args=(sock,))
        thread.start()
        yield sock
        sock.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer_pings(listener: socket.socket) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        while True:
            client, _ = listener.accept()
            stack.enter_context(client)
            client.recv(1000)
            client.sendall(b"+PONG\r\n")


def client_of(listener: socket.socket) -> redis.Redis:
    host, port = listener.getsockname()
    return connect(RedisSettings(host=host, port=port), read_timeout=7.5)


def test_redis_py_gives_the_socket_of_a_connection(listener: socket.socket) -> None:
    connection, sock = connect_outside_the_pool(client_of(listener))
    try:
        assert isinstance(sock, socket.socket)
        assert sock.getpeername() == listener.getsockname()
        assert connection.socket_timeout == 7.5
    finally:
        connection.disconnect()


def test_there_is_no_limit_to_the_connections_outside_the_pool(listener: socket.socket) -> None:
    client = client_of(listener)
    for _ in range(130):  # the pool of redis-py 8 stops at 100
        connection, _ = connect_outside_the_pool(client)
        connection.disconnect()


# --- Sentinel ------------------------------------------------------------------------------------


def test_each_sentinel_is_asked_at_its_address_with_a_short_time_out() -> None:
    first, second = sentinels_of(RedisSettings(**SENTINELS))
    assert (first["host"], first["port"]) == ("a", 1)
    assert (second["host"], second["port"]) == ("b", 26379)
    assert (first["socket_timeout"], first["socket_connect_timeout"]) == (1.0, 1.0)


def test_the_sentinels_have_credentials_of_their_own() -> None:
    theirs: dict[str, Any] = {"sentinel_username": "su", "sentinel_password": "sp"}
    settings = RedisSettings(username="u", password="p", **SENTINELS, **theirs)
    for options in sentinels_of(settings):
        assert (options["username"], options["password"]) == ("su", "sp")


def test_redis_s_password_is_not_told_to_sentinels() -> None:
    for options in sentinels_of(RedisSettings(password="p", **SENTINELS)):
        assert options.get("password") is None


def test_tls_to_sentinels_has_a_switch_of_its_own_and_the_same_files() -> None:
    settings = RedisSettings(sentinel_ssl=True, ssl_ca_certs="ca", **SENTINELS)
    assert pool_of(settings).connection_class is SentinelManagedConnection
    assert [options["ssl_ca_certs"] for options in sentinels_of(settings)] == ["ca", "ca"]


class Sentinels:
    """Stands in for the connections to Sentinels: `answers` by name; None does not answer."""

    def __init__(self, answers: Mapping[str, dict[str, Any] | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def install(self, client: redis.Redis) -> Any:
        manager: Any = client.connection_pool
        manager = manager.sentinel_manager
        manager._clients = {name: _Asked(name, self) for name in self.answers}
        return manager


class _Asked:
    def __init__(self, name: str, sentinels: Sentinels) -> None:
        self._name = name
        self._sentinels = sentinels

    def sentinel_masters(self) -> dict[str, Any]:
        self._sentinels.asked.append(self._name)
        state = self._sentinels.answers[self._name]
        if state is None:
            raise redis.ConnectionError("connection refused")
        return {"m": state} if state else {}

    def close(self) -> None:
        pass


def state(port: int, epoch: int, **flags: bool) -> dict[str, Any]:
    sane = {"is_master": True, "is_sdown": False, "is_odown": False}
    return {"ip": "10.0.0.1", "port": port, "config-epoch": epoch} | sane | flags


@pytest.fixture
def client() -> redis.Redis:
    return connect(RedisSettings(**SENTINELS), read_timeout=1)


def test_the_sentinel_with_the_newest_configuration_is_believed(client: redis.Redis) -> None:
    answers = {"cut off": state(1, epoch=3), "new": state(2, epoch=4)}
    assert Sentinels(answers).install(client).discover_master("m") == ("10.0.0.1", 2)


def test_a_sentinel_that_does_not_answer_is_left_alone_for_a_while(client: redis.Redis) -> None:
    sentinels = Sentinels({"gone": None, "there": state(1, epoch=1)})
    manager = sentinels.install(client)
    for _ in range(3):
        manager.discover_master("m")
    assert sentinels.asked == ["gone", "there", "there", "there"]


def test_a_sentinel_left_alone_is_asked_when_no_other_answers(client: redis.Redis) -> None:
    sentinels = Sentinels({"first": None, "second": state(1, epoch=1)})
    manager = sentinels.install(client)
    manager.discover_master("m")
    sentinels.answers = {"first": state(1, epoch=1), "second": None}
    assert manager.discover_master("m") == ("10.0.0.1", 1)


def test_without_a_master_it_is_told_what_each_sentinel_said(client: redis.Redis) -> None:
    answers = {
        "Sentinel a": None,
        "Sentinel b": {},
        "Sentinel c": state(1, epoch=1, is_sdown=True),
        "Sentinel d": state(1, epoch=1, is_odown=True),
        "Sentinel e": state(1, epoch=1, is_master=False),
    }
    with pytest.raises(redis.ConnectionError) as caught:
        Sentinels(answers).install(client).discover_master("m")
    assert str(caught.value) == (
        "no master 'm': Sentinel a can't be asked (connection refused); Sentinel b doesn't know "
        "it; Sentinel c says that it is down; Sentinel d says that it is down; Sentinel e says "
        "that it is down"
    )


def test_a_reader_whose_master_has_moved_is_told_so_at_most_every_two_seconds() -> None:
    client: Any = connect(RedisSettings(**SENTINELS), read_timeout=1)
    sentinels = Sentinels({"a": state(2, epoch=1)})
    sentinels.install(client)
    with pytest.raises(redis.ConnectionError) as caught:
        client.check_master("10.0.0.1", 1)
    assert str(caught.value) == "the master has moved from 10.0.0.1:1 to 10.0.0.1:2"
    client.check_master("10.0.0.1", 1)
    assert sentinels.asked == ["a"]


@pytest.mark.parametrize("answer", [state(1, epoch=1), {}, None])
def test_a_reader_stays_where_it_is_without_news_of_another_master(
    answer: dict[str, Any] | None,
) -> None:
    client: Any = connect(RedisSettings(**SENTINELS), read_timeout=1)
    Sentinels({"a": answer}).install(client)
    client.check_master("10.0.0.1", 1)


def test_a_reader_is_told_even_if_other_connections_have_moved_already() -> None:
    client: Any = connect(RedisSettings(**SENTINELS), read_timeout=1)
    Sentinels({"a": state(2, epoch=1)}).install(client)
    client.connection_pool.get_master_address()
    with pytest.raises(redis.ConnectionError):
        client.check_master("10.0.0.1", 1)


# --- logs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (RedisSettings(), "redis://127.0.0.1:6379/0"),
        (RedisSettings(host="::1", port=1, db=2), "redis://[::1]:1/2"),
        (RedisSettings(ssl=True), "rediss://127.0.0.1:6379/0"),
        (RedisSettings(unix_socket_path="/x", db=2), "unix:///x?db=2"),
        (RedisSettings(**SENTINELS, db=2), "redis://m/2 (by Sentinel: a:1, b)"),
    ],
)
def test_the_address_in_logs(settings: RedisSettings, text: str) -> None:
    assert describe(settings) == text


@pytest.mark.parametrize("form", [{}, {"unix_socket_path": "/x"}, SENTINELS], ids=str)
def test_no_credentials_are_in_the_address(form: dict[str, Any]) -> None:
    mark = "s3cr3t"
    settings = RedisSettings(
        username=mark, password=mark, sentinel_username=mark, sentinel_password=mark, **form
    )
    assert mark not in describe(settings)
