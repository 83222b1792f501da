# SPDX-License-Identifier: Apache-2.0
"""The configuration: every value with its source, and values that nobody can mean.

Knows the environment and the file, but neither Redis nor Superset. Secrets are shown as set or not.
"""

from __future__ import annotations

import difflib
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from wsgi_ws.cli.checks.report import Value
from wsgi_ws.cli.checks.words import Finding, green, red, text_of, yellow
from wsgi_ws.config.keys import Key, keys
from wsgi_ws.config.load import CONFIG_PATH_VARIABLE, ConfigError, Loaded, file_of, load
from wsgi_ws.config.meanings import only_around
from wsgi_ws.config.set_by import Kind

WHAT = "configuration"
NEAR = 0.9  # of 1, for one letter or two; REDIS_USER and REDIS_USERNAME are 0.83
USUAL_PROXY_TIMEOUT_MS = 60_000  # nginx, Apache, AWS's balancers; HAProxy's examples have 50 s


def check_configuration(
    environ: Mapping[str, str], *, container: bool = False
) -> tuple[Loaded | None, list[Finding]]:
    """Load it as the server does.

    :param container: whether this is one, where no other users are.
    :returns: the settings, as far as they are right, and what is to be said about them.
    """
    loaded, findings = _load(environ)
    if loaded is None:
        return None, findings
    findings += [yellow(WHAT, warning) for warning in loaded.warnings]
    findings += check_environment(environ, loaded)
    findings += check_names(environ)
    findings += check_pings(loaded)
    file = _file_alone(environ)
    findings += check_overridden_secrets(loaded, file)
    if file and not container:
        findings += check_readers(file_of(environ, Path())[0], file)
    return loaded, findings


def shown_values(loaded: Loaded) -> list[Value]:
    """Every key with the value in effect."""
    return [
        Value(key.path, _shown(key, loaded), loaded.set_by(key.path))
        for key in keys()
        if key.path != "redis.url"  # spelled out in the keys that it stands for
    ]


def check_environment(environ: Mapping[str, str], loaded: Loaded) -> Iterator[Finding]:
    """Variables that are meant for Superset."""
    redis = loaded.settings.redis
    if environ.get("REDIS_PROTO") == "rediss" and not redis.ssl:
        yield yellow(
            WHAT,
            "REDIS_PROTO=rediss makes Superset speak TLS with Redis, while redis.ssl is false "
            "here: set REDIS_SSL=true",
        )
    if environ.get("REDIS_USER", "").strip() and redis.username == "default" and redis.password:
        yield yellow(
            WHAT,
            "REDIS_USER is Superset's variable and has no effect here: if Redis wants that user, "
            "set REDIS_USERNAME to the same value",
        )


def check_names(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that are nearly this server's, or name a file with the value.

    Only the check looks for them: the environment is full of other programs' variables.
    """
    given = {name for name, value in environ.items() if value.strip()}
    ours = {key.env for key in keys() if key.env} | {CONFIG_PATH_VARIABLE}
    for name in sorted(given - ours):
        meant = name.upper().removesuffix("_FILE")
        if name.upper() != meant and meant in ours - given:
            yield yellow(
                WHAT,
                f"{name} in the environment has no effect, as this server reads no file that a "
                f"variable like it names: put its content into {meant}",
            )
            continue
        for near in difflib.get_close_matches(name.upper(), ours, n=1, cutoff=NEAR):
            if near not in given:
                yield yellow(WHAT, f"{name} in the environment has no effect: write {near}")


def check_pings(loaded: Loaded) -> Iterator[Finding]:
    """Pings must come before a proxy takes a socket for idle."""
    interval = loaded.value("pingSocketsIntervalMs")
    if interval >= USUAL_PROXY_TIMEOUT_MS:
        yield yellow(
            WHAT,
            f"pingSocketsIntervalMs is {interval} (from "
            f"{loaded.set_by('pingSocketsIntervalMs')}), and most proxies cut a socket that is "
            f"quiet for {USUAL_PROXY_TIMEOUT_MS // 1000} s: set it lower, the default is 20000",
        )


def check_overridden_secrets(loaded: Loaded, file: Loaded | None) -> Iterator[Finding]:
    """The environment's secret hides another one in the file."""
    if file is None:
        return
    for key in keys():
        source = loaded.set_by(key.path)
        if not key.secret or key.path not in file.sources or source.kind is not Kind.ENVIRONMENT:
            continue
        if file.wrong_among(key.path):  # nobody means that one
            continue
        if loaded.value(key.path) != file.value(key.path):
            wrapping = only_around(loaded.value(key.path), file.value(key.path))
            how = f", only in the {wrapping} around it," if wrapping else ""
            yield yellow(
                WHAT,
                f"{key.path} in {file.sources[key.path]} differs{how} from {key.env} in the "
                "environment, which wins: remove the one that is not meant",
            )


def check_readers(path: Path, file: Loaded) -> Iterator[Finding]:
    """A file with secrets must not be open to every user of this machine.

    :param file: what the file alone sets.
    """
    secrets = [
        key.path
        for key in keys()
        if key.secret
        and file.set_by(key.path).kind in (Kind.FILE, Kind.URL)
        and file.value(key.path)
    ]
    if secrets and _is_open_to_all(path):
        yield yellow(
            WHAT,
            f"{path} holds {' and '.join(secrets)}, and every user of this machine may read it: "
            f"chmod o= {shlex.quote(str(path))}, and let the server's user own it or be in its "
            "group",
        )


def _is_open_to_all(path: Path) -> bool:
    """Whether other users may read it; a folder above it that they may not enter keeps them out."""
    whole = path.resolve()
    return bool(whole.stat().st_mode & stat.S_IROTH) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in whole.parents
    )


def _load(environ: Mapping[str, str]) -> tuple[Loaded | None, list[Finding]]:
    try:
        loaded = load(environ)
    except ConfigError as error:
        sentences = [f"the server does not start: {problem}" for problem in error.problems]
        return error.rest, [red(WHAT, sentence) for sentence in sentences]
    return loaded, [green(WHAT, "it is complete: the server starts with it")]


def _file_alone(environ: Mapping[str, str]) -> Loaded | None:
    return _load({k: v for k, v in environ.items() if k == CONFIG_PATH_VARIABLE})[0]


def _shown(key: Key, loaded: Loaded) -> str:
    value = loaded.value(key.path)
    if key.path in loaded.sources and loaded.wrong_among(key.path):
        return "(wrong, see below)"
    if key.secret:
        return "(set, not shown)" if value else "(empty)"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "[]"
    return text_of(value) if value != "" else '""'
