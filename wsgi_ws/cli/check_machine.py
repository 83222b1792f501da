# SPDX-License-Identifier: Apache-2.0
"""This machine: the port, the limit of open files, StatsD, the libraries' versions.

Knows the settings, but neither Redis nor Superset.
"""

from __future__ import annotations

import errno
import http.client
import platform
import resource
import socket
import time
from collections.abc import Iterator, Mapping
from importlib import metadata

from wsgi_ws.cli.findings import Finding, green, red, yellow
from wsgi_ws.config import Loaded
from wsgi_ws.settings import StatsdSettings

OTHER_DESCRIPTORS = 64  # as the worker reckons: Redis, logs, StatsD, the loop and the listener
FEW_DESCRIPTORS = 4096
HTTP_TIMEOUT = 3.0  # seconds
UDP_PATIENCE = 0.1  # seconds for an ICMP message to come back
# The least versions, as in requirements.txt.
LIBRARIES: Mapping[str, str] = {
    "click": "8.0.3",
    "flask": "2.2.5",
    "gevent": "23.9.1",
    "gevent-websocket": "0.10.1",
    "gunicorn": "22",
    "hiredis": "2.3.2",
    "msgspec": "0.18",
    "orjson": "3.9.15",
    "prometheus-client": "0.17",
    "PyJWT": "2.4",
    "redis": "4.6",
    "statsd": "4",
    "wsproto": "1.2",
}


def check(loaded: Loaded) -> Iterator[Finding]:
    """Everything here."""
    yield check_port(loaded)
    yield check_descriptors(
        loaded.settings.max_total_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    )
    yield check_statsd(loaded.settings.statsd, "statsd.host" in loaded.sources)
    yield check_libraries(installed())


# --- the port ------------------------------------------------------------------------------------


def check_port(loaded: Loaded) -> Finding:
    """Free, or our own server is already there."""
    port = loaded.settings.port
    problem = _bind_error(port)
    if problem is None:
        return green("port", f"port {port} is free: no server runs on it now")
    if problem == errno.EACCES:
        return red("port", f"port {port} is for root only: set PORT to one above 1023")
    if problem != errno.EADDRINUSE:
        return red("port", f"port {port} can't be used ({errno.errorcode.get(problem, problem)})")
    return _who_is_there(port)


def is_own_server(port: int) -> bool:
    """Whether this server, of whatever configuration, answers on a port of this machine."""
    return _get(port, "/health") == (200, "OK") and _readiness(port) is not None


def _who_is_there(port: int) -> Finding:
    health, ready = _get(port, "/health"), _readiness(port)
    if health == (200, "OK") and ready == "OK":
        return green("port", f"this server answers on port {port} and is ready")
    if health == (200, "OK") and ready is not None:
        return yellow("port", f"this server answers on port {port}, but says: {ready}")
    if health == (200, "OK"):
        return red(
            "port",
            f"another server with a health check answers on port {port}, perhaps the Node server: "
            "stop it, or set PORT to another number",
        )
    return red("port", f"another program listens on port {port}: stop it, or set PORT to another")


def _readiness(port: int) -> str | None:
    """What /ready says; None when it is not this server's."""
    status, text = _get(port, "/ready")
    if (status, text) == (200, "OK") or (status == 503 and text.startswith("not ready: ")):
        return text
    return None


def _bind_error(port: int) -> int | None:
    host, family = ("", socket.AF_INET)
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno
    return None


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


# --- descriptors ---------------------------------------------------------------------------------


def check_descriptors(max_total_connections: int, limit: int) -> Finding:
    """Each socket takes an open file; `limit` is what this shell allows at most."""
    if limit == resource.RLIM_INFINITY:
        return green("open files", "no limit")
    wanted = max_total_connections + OTHER_DESCRIPTORS
    if max_total_connections and limit < wanted:
        return red(
            "open files",
            f"maxTotalConnections is {max_total_connections}, but a process may open only {limit} "
            f"files: raise the limit (ulimit -n, LimitNOFILE=) to at least {wanted}",
        )
    if not max_total_connections and limit < FEW_DESCRIPTORS:
        return yellow(
            "open files",
            f"a worker may open {limit} files, so it has room for {limit - OTHER_DESCRIPTORS} "
            "sockets: raise the limit (ulimit -n, LimitNOFILE=) for more users",
        )
    return green("open files", f"up to {limit} for each worker")


# --- StatsD --------------------------------------------------------------------------------------


def check_statsd(settings: StatsdSettings, chosen: bool) -> Finding:
    """As far as UDP can tell: a name that resolves, and nobody who refuses.

    :param chosen: whether the host is configured, so that somebody expects metrics.
    """
    where = f"{settings.host}:{settings.port}"
    if settings.mock:
        return green("statsd", "statsd.mock is true: no metrics are sent")
    try:
        refused = _refuses(settings.host, settings.port)
    except OSError as error:
        return yellow(
            "statsd",
            f"{where} can't be reached ({error.strerror or error}): correct statsd.host, or set "
            "statsd.mock to true if you want no metrics",
        )
    if not refused:
        return green("statsd", f"{where} does not refuse (more can't be told over UDP)")
    if not chosen:
        return green("statsd", f"nobody listens at {where}, the default: no metrics are collected")
    return yellow(
        "statsd",
        f"nobody listens at {where}: metrics are lost; start the collector or correct statsd.host "
        "and statsd.port",
    )


def _refuses(host: str, port: int) -> bool:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        for _ in range(2):  # the answer to the first is reported at the second
            try:
                probe.send(b"")
            except ConnectionRefusedError:
                return True
            time.sleep(UDP_PATIENCE)
    return False


# --- libraries -----------------------------------------------------------------------------------


def installed() -> dict[str, str | None]:
    """The versions that are there."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def check_libraries(found: Mapping[str, str | None]) -> Finding:
    """None is missing or too old."""
    missing = [name for name, version in found.items() if version is None]
    old = [
        f"{name} {version} (needs {LIBRARIES[name]})"
        for name, version in found.items()
        if version and as_numbers(version) < as_numbers(LIBRARIES[name])
    ]
    if missing or old:
        complaints = [f"missing: {', '.join(missing)}"] if missing else []
        complaints += [f"too old: {', '.join(old)}"] if old else []
        return red(
            "libraries", f"{'; '.join(complaints)}: pip install -r requirements.txt installs them"
        )
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return green("libraries", f"Python {platform.python_version()}, {versions}")


def as_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
