# SPDX-License-Identifier: Apache-2.0
"""An environment for each release of Superset, installed once from its lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from testbed.servers import ROOT

BUILD = ROOT / "build" / "interop"
VERSIONS = ("6.1", "5.0")
PYTHON = ">=3.10,<3.13"  # Superset's own range


class UvFailed(Exception):
    """Packages can't be had here, or don't fit; the text says which command failed, and how."""


class NoPythonFits(Exception):
    """This machine has no Python that Superset runs on."""


class Environment:
    """`.venv-interop-<version>`."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.directory = ROOT / f".venv-interop-{version}"
        self.lock = ROOT / "interop" / f"requirements-{version}.lock"
        self.python = self.program("python")

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        return str(self.directory / "bin" / name)

    def install(self) -> None:
        """Install it, unless it is there already with the same lock file.

        :raises NoPythonFits: and its versions are told.
        :raises UvFailed: the package index can't be reached.
        """
        stamp = self.directory / ".installed"
        if stamp.exists() and stamp.read_text() == self.lock.read_text():
            return
        print(f"Installing Superset {self.version} into {self.directory.name} …", flush=True)
        uv = _uv()
        try:
            python = _run(uv, "python", "find", "--no-python-downloads", PYTHON).strip()
        except UvFailed as error:
            raise NoPythonFits(
                f"Superset {self.version} needs a Python {PYTHON}: {error}"
            ) from None
        _run(uv, "venv", "--quiet", "--clear", "--python", python, str(self.directory))
        _run(
            *(uv, "pip", "install", "--quiet", "--python", str(self.directory)),
            *("--require-hashes", "-r", str(self.lock)),
        )
        stamp.write_text(self.lock.read_text())

    def frozen(self) -> str:
        """What is installed, as `name==version` lines."""
        return _run(_uv(), "pip", "freeze", "--quiet", "--python", str(self.directory))

    def with_wheel(self, wheel: Path) -> Environment:
        """A copy of it with this server's wheel on top, as docs/deployment/colocated.md says.

        :raises UvFailed: the package index can't be reached.
        """
        copy = Environment(self.version)
        copy.directory = directory = BUILD / f"with-wheel-{self.version}"
        copy.python = copy.program("python")
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self.directory, directory, symlinks=True, copy_function=os.link)
        constraints = directory / "superset.txt"
        constraints.write_text(self.frozen())
        _run(
            *(_uv(), "pip", "install", "--quiet", "--python", str(directory)),
            *("--constraint", str(constraints), str(wheel)),
        )
        return copy

    def resolve(self, requirements: Path, resolution: str) -> str:
        """Requirements as they would be installed here, with no version of what is here moved.

        :param resolution: uv's: `highest` or `lowest-direct`.
        :raises UvFailed: they do not fit.
        """
        BUILD.mkdir(parents=True, exist_ok=True)
        constraints = BUILD / f"installed-{self.version}.txt"
        constraints.write_text(self.frozen())
        return _run(
            *(_uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
            *("--python", self.python, "--resolution", resolution),
            *("--constraint", str(constraints), str(requirements)),
        )


def _uv() -> str:
    """uv: the one beside this Python or on PATH, else one of its own."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found:
        return found
    own = BUILD / "uv"
    program = own / "bin" / "uv"
    if not program.exists():
        pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        _run(sys.executable, *pip, "--target", str(own), "uv")
    return str(program)


def _run(*command: str) -> str:
    """Run it and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise UvFailed(f"'{' '.join(command)}' failed:\n{done.stderr.strip()}")
    return done.stdout
