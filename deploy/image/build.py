# SPDX-License-Identifier: Apache-2.0
"""Builds the image of ../../Dockerfile as wsgi-ws:VERSION, with where it comes from in its labels.

    python3 deploy/image/build.py                                 # make image
    python3 deploy/image/build.py --tool podman --build-arg SOURCE=https://git.example.com/wsgi-ws

Options it doesn't know go to the tool. It needs nothing but Python and one of the tools.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("docker", "podman", "buildah")


class Origin(NamedTuple):
    """What the image is built from.

    :ivar revision: the commit, with `-dirty` behind it when files differ; "unknown" without git.
    :ivar committed: the commit's time, seconds since 1970; None without git.
    """

    version: str
    revision: str
    committed: int | None


def main(arguments: Sequence[str]) -> int:
    """Build; returns the tool's exit status."""
    parser = argparse.ArgumentParser(
        description="Build the image wsgi-ws:VERSION. Other options go to the tool's build command."
    )
    parser.add_argument("--tool", choices=TOOLS, help="default: the first one that works")
    options, others = parser.parse_known_args(arguments)
    wanted = (options.tool,) if options.tool else TOOLS
    tool = next(filter(works, wanted), None)
    if tool is None:
        print(f"Does not work here, or is not installed: {', '.join(wanted)}", file=sys.stderr)
        return 1
    origin = origin_of(ROOT)
    line = command(tool, origin, others)
    print(*map(without_user, line), flush=True)
    return subprocess.run(
        line, cwd=ROOT, env=environment(origin, os.environ), check=False
    ).returncode


def works(tool: str) -> bool:
    """Whether it is installed and, for Docker, its daemon answers."""
    if shutil.which(tool) is None:
        return False
    return subprocess.run([tool, "info"], capture_output=True, check=False).returncode == 0


def origin_of(root: Path) -> Origin:
    """What a checkout, or a copy of one without git, says about itself."""
    text = (root / "wsgi_ws" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found, "wsgi_ws/__init__.py has the version"
    commit = _git(root, "log", "-1", "--format=%H %ct")
    if commit is None:
        return Origin(found[1], "unknown", None)
    revision, committed = commit.split()
    changed = _git(root, "status", "--porcelain")
    return Origin(found[1], revision + ("-dirty" if changed else ""), int(committed))


def command(tool: str, origin: Origin, others: Sequence[str]) -> list[str]:
    """The build's command line.

    The image's time is the commit's, so that two builds of a commit have the same files.
    """
    created = None
    if origin.committed is not None:
        created = datetime.fromtimestamp(origin.committed, timezone.utc).isoformat()
    told = {"VERSION": origin.version, "REVISION": origin.revision, "CREATED": created}
    line = [tool, "build", "--tag", f"wsgi-ws:{origin.version}"]
    for name, value in told.items():
        line += ["--build-arg", f"{name}={value}"] if value else []
    if tool != "docker":
        line += ["--format", "docker"]  # OCI's own has no HEALTHCHECK
        if origin.committed is not None:
            line += ["--timestamp", str(origin.committed)]
    return [*line, *others, "."]


def without_user(word: str) -> str:
    """A URL's user and password, as of a package index, do not belong in a build's log."""
    return re.sub(r"://[^/\s]*@", "://***@", word)


def environment(origin: Origin, inherited: Mapping[str, str]) -> dict[str, str]:
    """Docker's builder takes the time from SOURCE_DATE_EPOCH."""
    time = {} if origin.committed is None else {"SOURCE_DATE_EPOCH": str(origin.committed)}
    return {**inherited, **time}


def _git(root: Path, *arguments: str) -> str | None:
    """Its output; None when there is no git, or `root` is no checkout."""
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    # A hook's GIT_DIR would win over `root`.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
