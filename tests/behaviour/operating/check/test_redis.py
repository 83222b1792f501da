# SPDX-License-Identifier: Apache-2.0
"""A real redis-server that is out of reach, wants a password, permissions or TLS."""

from __future__ import annotations

import functools
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from testbed.check import StartRedis, assert_named, command, sentences
from testbed.ports import free_port
from testbed.servers import RedisServer, eventually
from testbed.superset import new_channel, publish
from testbed.tcp_proxy import TcpProxy
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level


def test_the_loopback_inside_a_container(environ: dict[str, str]) -> None:
    in_kubernetes = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "REDIS_PORT": str(free_port())}
    report = check_all(environ | in_kubernetes, CheckOptions())
    assert_named(report, Level.RED, "127.0.0.1", "is the container itself", "REDIS_HOST")


@pytest.mark.parametrize("container", [{}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}])
def test_a_redis_that_takes_the_connection_and_is_silent(
    environ: dict[str, str], own_redis: StartRedis, container: dict[str, str]
) -> None:
    server = own_redis()
    server.process.send_signal(signal.SIGSTOP)
    report = check_all(environ | {"REDIS_PORT": str(server.port)} | container, CheckOptions())
    assert_named(report, Level.RED, "takes the connection, but does not answer", "it hangs")
    assert "the container itself" not in sentences(report)


@pytest.mark.parametrize("command", [b"XREVRANGE", b"XINFO", b"NUMSUB"])
def test_a_redis_that_falls_silent_while_it_is_looked_at(
    environ: dict[str, str], own_redis: StartRedis, command: bytes
) -> None:
    server = own_redis()
    publish(server.client, environ["REDIS_STREAM_PREFIX"], new_channel())
    proxy = TcpProxy(server.port, rewrite=lambda sent: b"" if command in sent else sent)
    try:
        report = check_all(environ | {"REDIS_PORT": str(proxy.port)}, CheckOptions())
    finally:
        proxy.close()
    assert_named(report, Level.RED, "takes the connection, but does not answer")


def test_sentinels_that_are_not_there(environ: dict[str, str]) -> None:
    sentinel = f"127.0.0.1:{free_port()}"
    changed = {"REDIS_PORT": "", "REDIS_SENTINELS": sentinel, "REDIS_SENTINEL_MASTER": "events"}
    report = check_all(environ | changed, CheckOptions())
    assert_named(
        report,
        Level.RED,
        "none of the Sentinels can be asked (no master 'events': ",
        f"Sentinel {sentinel} can't be asked",
        "correct redis.sentinels (from environment variable REDIS_SENTINELS)",
    )


def test_a_host_name_that_nobody_knows(environ: dict[str, str]) -> None:
    report = check_all(environ | {"REDIS_HOST": "redis.invalid"}, CheckOptions())
    assert_named(report, Level.RED, "redis.invalid", "host name", "environment variable REDIS_HOST")


@pytest.mark.parametrize(
    ("password", "words"),
    [("", ("wants a password", "REDIS_PASSWORD")), ("wrong", ("refuses the password",))],
)
def test_a_password_that_is_wrong(
    environ: dict[str, str],
    own_redis: StartRedis,
    password: str,
    words: tuple[str, ...],
) -> None:
    server = own_redis(password="right")
    changed = {"REDIS_PORT": str(server.port), "REDIS_PASSWORD": password}
    assert_named(check_all(environ | changed, CheckOptions()), Level.RED, *words)


def test_a_user_who_is_disabled(environ: dict[str, str], own_redis: StartRedis) -> None:
    server = own_redis()
    server.client.execute_command("ACL", "SETUSER", "ws", "off", ">pw")
    changed = {"REDIS_PORT": str(server.port), "REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = check_all(environ | changed, CheckOptions())
    assert_named(report, Level.RED, "refuses the password of user ws", "or user is disabled")


def test_a_password_that_nobody_wants(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"redis": {"username": ""}}')
    report = check_all(environ | {"REDIS_PASSWORD": "x"}, CheckOptions())
    assert_named(report, Level.RED, "has no password, but redis.password is set")


def test_a_user_without_a_password(environ: dict[str, str]) -> None:
    report = check_all(environ | {"REDIS_USERNAME": "bob"}, CheckOptions())
    assert_named(report, Level.YELLOW, "is bob", "without effect without redis.password")
    assert_named(report, Level.GREEN, "user default may do XREAD")


def test_permissions_that_are_missing(environ: dict[str, str], own_redis: StartRedis) -> None:
    server = own_redis()
    server.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "~async-events-*", "+xread", "+xrange", "+time")
    )
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(server.port), "REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = check_all(environ | changed, CheckOptions())
    assert_named(
        report, Level.RED, "user ws may not do XREVRANGE on async-events-*", "ACL SETUSER ws"
    )
    server.client.execute_command("ACL", "SETUSER", "ws", "+xrevrange")
    report = check_all(environ | changed, CheckOptions())
    assert_named(report, Level.GREEN, "user ws may do XREAD")


def test_the_keys_of_another_prefix_are_not_permitted(
    environ: dict[str, str], own_redis: StartRedis
) -> None:
    server = own_redis()
    server.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "~bi-*", "+@read", "+@connection", "+time")
    )
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(server.port), "REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = check_all(environ | changed, CheckOptions())
    assert_named(report, Level.RED, "may not do", "XREAD", "~async-events-*")


@pytest.fixture
def cluster(own_redis: StartRedis) -> list[RedisServer]:
    """A Redis Cluster of two; the first has the global stream of the usual prefix."""
    nodes = [
        own_redis(
            *("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{number}.conf"),
            port=_port_of_a_node(),
        )
        for number in range(2)
    ]
    first, second = (node.client for node in nodes)
    ours: Any = first.execute_command("CLUSTER", "KEYSLOT", "async-events-full")
    half = {slot for slot in range(16_384) if slot % 2 == ours % 2}
    first.execute_command("CLUSTER", "ADDSLOTS", *half)
    second.execute_command("CLUSTER", "ADDSLOTS", *set(range(16_384)) - half)
    first.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port)
    for client in (first, second):
        eventually(functools.partial(_is_whole, client), "the cluster is whole")
    first.xadd("async-events-full", {"data": '{"channel_id": "c"}'})
    return nodes


def _is_whole(client: redis.Redis) -> bool:
    return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("db", ["0", "1"])
def test_a_cluster_whichever_node_has_the_global_stream(
    environ: dict[str, str], cluster: list[RedisServer], node: int, db: str
) -> None:
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(cluster[node].port), "REDIS_DB": db}
    report = check_all(environ | changed, CheckOptions())
    assert_named(report, Level.RED, "is a Redis Cluster, which Superset and this server can't use")
    assert "is no stream" not in sentences(report)
    assert "user default may do" not in sentences(report, Level.GREEN)


def test_a_cluster_that_is_down(environ: dict[str, str], own_redis: StartRedis) -> None:
    server = own_redis("--cluster-enabled", "yes", port=_port_of_a_node())
    report = check_all(environ | {"REDIS_PORT": str(server.port)}, CheckOptions())
    assert_named(report, Level.RED, "is a Redis Cluster")


def test_a_cluster_is_told_to_a_user_who_may_not_ask_for_the_mode(
    environ: dict[str, str], cluster: list[RedisServer]
) -> None:
    cluster[0].client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "~async-events-*", "-@all"),
        *("+xread", "+xrange", "+xrevrange", "+time"),
    )
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = check_all(environ | changed | {"REDIS_PORT": str(cluster[0].port)}, CheckOptions())
    assert_named(report, Level.RED, "is a Redis Cluster")


@pytest.mark.parametrize("arguments", [("tail", "--since", "0"), ("send", "c")])
def test_the_commands_tell_a_cluster_too(
    environ: dict[str, str], cluster: list[RedisServer], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(cluster[1].port)}
    run = command(*arguments, environ=environ | changed, directory=tmp_path)
    assert "is a Redis Cluster" in run.stderr


def test_a_replica_without_its_master_is_no_cluster(
    environ: dict[str, str], own_redis: StartRedis
) -> None:
    server = own_redis("--replica-serve-stale-data", "no")
    server.client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    report = check_all(environ | {"REDIS_PORT": str(server.port)}, CheckOptions())
    assert_named(report, Level.RED, "Link with MASTER is down")
    assert "Cluster" not in sentences(report)
    assert "is no stream" not in sentences(report)


def _port_of_a_node() -> int:
    """The nodes talk to each other at a port that is 10,000 higher."""
    return next(port for port in iter(free_port, None) if port < 55_000)


@pytest.fixture
def tls_port(tmp_path: Path, own_redis: StartRedis) -> int:
    """A Redis that speaks TLS on this port, with a certificate of an unknown authority."""
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    for name, pems in (
        ("cert.pem", certificate.cert_chain_pems),
        ("key.pem", [certificate.private_key_pem]),
    ):
        for pem in pems:
            pem.write_to_path(str(tmp_path / name), append=True)
    port = free_port()
    own_redis(
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(tmp_path / "cert.pem")),
        *("--tls-key-file", str(tmp_path / "key.pem")),
        *("--tls-ca-cert-file", str(tmp_path / "cert.pem")),
    )
    return port


def test_plain_speech_where_redis_wants_tls(environ: dict[str, str], tls_port: int) -> None:
    report = check_all(environ | {"REDIS_PORT": str(tls_port)}, CheckOptions())
    assert_named(report, Level.RED, "ends the connection at once", "REDIS_SSL=true")


def test_a_redis_with_a_certificate_of_an_unknown_authority(
    environ: dict[str, str], tls_port: int
) -> None:
    report = check_all(environ | {"REDIS_PORT": str(tls_port), "REDIS_SSL": "true"}, CheckOptions())
    assert_named(report, Level.RED, "certificate that is not trusted", "redis.sslCaCerts")


def test_tls_where_redis_speaks_none(environ: dict[str, str]) -> None:
    report = check_all(environ | {"REDIS_SSL": "true"}, CheckOptions())
    assert_named(report, Level.RED, "speaks no TLS", "redis.ssl")
