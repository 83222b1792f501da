# SPDX-License-Identifier: Apache-2.0
"""This machine: the port, the log file, the limit of open files, StatsD, the libraries' versions.

Knows the settings, but neither Redis nor Superset.
"""

from __future__ import annotations

import errno
import platform
import resource
import socket
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from wsgi_ws.cli import health
from wsgi_ws.cli.checks.words import Finding, green, red, yellow
from wsgi_ws.config.keys import StatsdSettings
from wsgi_ws.config.load import Loaded
from wsgi_ws.http.paths import HEALTH, READY
from wsgi_ws.server import log_file, open_files
from wsgi_ws.server.listening import bind_error
from wsgi_ws.wording import counted

FEW_DESCRIPTORS = 4096
EVERYWHERE = ("", "0.0.0.0", "::")
UDP_PATIENCE = 0.1  # seconds for an ICMP message to come back
# The least versions, as in requirements.txt.
LIBRARIES: Mapping[str, str] = {
    "click": "8.0.3",
    "flask": "2.2.5",
    "gevent": "23.9.1",
    "gevent-websocket": "0.10.1",
    "gunicorn": "22",
    "hiredis": "2.3.2",
    "msgspec": "0.19",
    "orjson": "3.9.15",
    "packaging": "22",
    "prometheus-client": "0.17",
    "PyJWT": "2.4",
    "redis": "4.6",
    "statsd": "4",
    "wsproto": "1.2",
}


class Place(NamedTuple):
    """An address where the server listens, or is to listen.

    :ivar host: empty for all addresses.
    """

    key: str
    variable: str
    port: int
    host: str = ""


def check_machine(loaded: Loaded) -> Iterator[Finding]:
    """All parts whose settings can be used."""
    settings = loaded.settings
    if not loaded.wrong_among("port"):
        yield check_port(Place("port", "PORT", settings.port))
    if settings.metrics_port:
        host = settings.metrics_host
        yield check_port(Place("metricsPort", "METRICS_PORT", settings.metrics_port, host))
    if settings.log_to_file:
        yield check_log_file(loaded)
    yield check_descriptors(
        settings.max_total_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    )
    if not loaded.wrong_among("statsd"):
        yield check_statsd(settings.statsd)
    yield check_libraries(installed())


def in_container(environ: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Whether this process runs in a container of Docker, Podman or Kubernetes."""
    marks = (root / ".dockerenv", root / "run" / ".containerenv")
    return "KUBERNETES_SERVICE_HOST" in environ or any(mark.exists() for mark in marks)


# --- the port ------------------------------------------------------------------------------------


def check_port(place: Place) -> Finding:
    """The port must be free, or this server must listen on it already."""
    where, variable = f"{place.key} {place.port}", place.variable
    try:
        error = bind_error(place.host, place.port)
    except OSError as unknown:  # the host name is wrong, not the port
        return red("port", f"metricsHost {place.host} can't be looked up ({unknown}): correct it")
    if error is None:
        return green("port", f"{where} is free: no server runs on it now")
    if error.errno == errno.EACCES:
        return red("port", f"{where} is for root only: set {variable} to one above 1023")
    if error.errno != errno.EADDRINUSE:
        return red("port", f"{where} can't be used ({errno.errorcode.get(error.errno or 0)})")
    lives, ready = _get(place, HEALTH) == (200, "OK"), _readiness(place)
    if lives and ready == "OK":
        return green("port", f"this server answers on {where} and is ready")
    if lives and ready is not None:
        return yellow("port", f"this server answers on {where}, but says: {ready}")
    if lives:
        return red(
            "port",
            f"another server with a health check answers on {where}, perhaps the Node server: "
            f"stop it, or set {variable} to another number",
        )
    return red("port", f"another program listens on {where}: stop it, or set {variable} to another")


def _readiness(place: Place) -> str | None:
    """What /ready says; None when it is not this server's."""
    status, text = _get(place, READY)
    if (status, text) == (200, "OK") or (status == 503 and text.startswith("not ready: ")):
        return text
    return None


def _get(place: Place, path: str) -> tuple[int, str]:
    return health.get(health.LOOPBACK if place.host in EVERYWHERE else place.host, place.port, path)


# --- the log file --------------------------------------------------------------------------------


def check_log_file(loaded: Loaded) -> Finding:
    """It must be possible to write to it; whether other users may can't be told."""
    problem = log_file.problem_with(loaded)
    if problem:
        return red("log file", f"the server does not start: {problem}")
    return green("log file", f"{loaded.settings.log_filename} can be written to by this user")


# --- descriptors ---------------------------------------------------------------------------------


def check_descriptors(max_total_connections: int, limit: int) -> Finding:
    """Each socket takes an open file; `limit` is what this shell allows at most."""
    if limit == resource.RLIM_INFINITY:
        return green("open files", "no limit")
    wanted = open_files.needed(max_total_connections)
    if max_total_connections and limit < wanted:
        return red(
            "open files",
            f"maxTotalConnections is {max_total_connections}, but a process may open only {limit} "
            f"files: raise the limit (ulimit -n, LimitNOFILE=) to at least {wanted}",
        )
    if not max_total_connections and limit < FEW_DESCRIPTORS:
        return yellow(
            "open files",
            f"a worker may open {counted(limit, 'file')}, so it has room for "
            f"{counted(max(limit - open_files.OTHER, 0), 'socket')}: raise the limit (ulimit -n, "
            "LimitNOFILE=) for more users",
        )
    return green("open files", f"up to {limit} for each worker")


# --- StatsD --------------------------------------------------------------------------------------


def check_statsd(settings: StatsdSettings) -> Finding:
    """The name must resolve, and no ICMP message may refuse the port; UDP tells no more.

    Who expects metrics has another address than the default, which config.example.json has too.
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
    default = StatsdSettings()
    if (settings.host, settings.port) == (default.host, default.port):
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
    """The installed version of each library; None when it is missing."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def check_libraries(found: Mapping[str, str | None]) -> Finding:
    """No library may be missing or too old."""
    missing = [name for name, version in found.items() if version is None]
    old = {
        name: f"{name} {version} (needs {LIBRARIES[name]})"
        for name, version in found.items()
        if version and is_older(version, LIBRARIES[name])
    }
    if missing or old:
        complaints = [f"missing: {', '.join(missing)}"] if missing else []
        complaints += [f"too old: {', '.join(old.values())}"] if old else []
        wanted = " ".join(f"'{name}>={LIBRARIES[name]}'" for name in (*missing, *old))
        return red("libraries", f"{'; '.join(complaints)}: pip install {wanted}")
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return green("libraries", f"Python {platform.python_version()}, {versions}")


def is_older(version: str, least: str) -> bool:
    """Whether a library's version is below the least one; true if it is no version of PEP 440."""
    try:
        return Version(version) < Version(least)
    except InvalidVersion:
        return True
