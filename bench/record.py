# SPDX-License-Identifier: Apache-2.0
"""Results as files: figures, and all that is needed to judge them."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from testbed.servers import redis_executable

RESULTS = Path(__file__).parent / "results"
PARTS = (
    *("gevent", "greenlet", "gunicorn", "gevent-websocket", "flask", "redis", "hiredis"),
    *("orjson", "msgspec", "PyJWT", "cryptography", "wsproto"),
)


def surroundings() -> dict[str, Any]:
    """Where and with what it is measured; to be taken before the first figure."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _revision(),
        "load_before": [round(x, 2) for x in os.getloadavg()],
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "kernel": platform.release(),
            "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        },
        "versions": {
            "python": platform.python_version(),
            "redis-server": _redis_version(),
            "cc": _output("cc", "--version").partition("\n")[0],
            **{name: _version(name) for name in PARTS},
        },
    }


def save(name: str, where: dict[str, Any], figures: dict[str, Any]) -> Path:
    """Write `results/<date>-<name>.json`, over an older one of the same day."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{where['date'][:10]}-{name}.json"
    path.write_text(json.dumps({"name": name} | where | figures, indent=1) + "\n")
    return path


def newest(name: str) -> dict[str, Any]:
    """The latest result of that name."""
    paths = sorted(RESULTS.glob(f"????-??-??-{name}.json"))
    if not paths:
        raise FileNotFoundError(f"no results named {name} in {RESULTS}")
    result: dict[str, Any] = json.loads(paths[-1].read_text())
    return result


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """With four significant digits: more would only pretend."""
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in figures.items()
    }


def _revision() -> str:
    """The commit; what other measurements have recorded since is no change of it."""
    changed = _output("git", "status", "--porcelain", "-uno", "--", ".", f":!{RESULTS}")
    return _output("git", "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _redis_version() -> str:
    found = re.search(r"v=(\S+)", _output(redis_executable(), "--version"))
    return found.group(1) if found else ""


def _cpu_model() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.processor()


def _output(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()
