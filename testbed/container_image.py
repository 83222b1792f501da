# SPDX-License-Identifier: Apache-2.0
"""The project's image, built by buildah without a registry: the base is made of Debian's packages.

Bases are kept between runs in ~/.cache/wsgi-ws, in a storage of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.servers import ROOT

# What the Dockerfile asks of its base: Python with venv, and authorities for `rediss`.
PACKAGES = "python3,python3-venv,ca-certificates"
BOOTSTRAP = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm")
REMOVED = ("var/cache/apt", "var/lib/apt/lists", "var/log")
# Whatever stands between this machine and PyPI, its authority is known here and not in the base.
BUILD_OPTIONS = ("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro")


class NoBuilder(Exception):
    """Images can't be built here. The text says what is missing."""


def look_for_builder() -> None:
    """:raises NoBuilder: when something is missing."""
    missing = [tool for tool in ("buildah", "debootstrap") if not shutil.which(tool)]
    if missing:
        raise NoBuilder(
            f"no {' and no '.join(missing)} (on Debian: apt-get install buildah debootstrap)"
        )
    if os.geteuid():
        raise NoBuilder("debootstrap and chroot need root")


class Storage:
    """Where buildah keeps images; apart from the machine's own."""

    def __init__(self) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wsgi-ws"
        cache.mkdir(parents=True, exist_ok=True)
        settings = cache / "storage.conf"
        # overlay can't lie on overlay, which a container's own files may be.
        kind = _run("stat", "--file-system", "--format=%T", str(cache), environ=os.environ)
        driver = "vfs" if kind == "overlayfs" else "overlay"
        # Mounts are forgotten at a restart of the machine, as all of /run is.
        settings.write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{cache / "containers"}"\n'
            'runroot = "/run/wsgi-ws-containers"\n'
        )
        self.environ = os.environ | {
            "CONTAINERS_STORAGE_CONF": str(settings),
            "BUILDAH_ISOLATION": "chroot",  # works inside of containers too
        }

    def buildah(self, *arguments: str) -> str:
        """Run it; returns its output without the line's end."""
        return _run("buildah", *arguments, environ=self.environ)

    def base(self) -> str:
        """The name of the base image, which is made unless it is there."""
        recipe = "\n".join((*BOOTSTRAP, *REMOVED))
        name = f"localhost/wsgi-ws-base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
        if name not in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines():
            container = self.buildah("from", "scratch")
            try:
                root = Path(self.buildah("mount", container))
                _run(*BOOTSTRAP, str(root), environ=self.environ)
                for path in REMOVED:
                    shutil.rmtree(root / path)
                    (root / path).mkdir()
                self.buildah("commit", "--quiet", container, name)
            finally:
                self.buildah("rm", container)
        return name


class Image:
    """The image of this checkout, mounted with a layer on top, which can be written to.

    :ivar root: where it is mounted.
    :ivar base: where its base is.
    :ivar config: what the image says about itself, as `docker inspect` shows it under `Config`.
    """

    def __init__(self, directory: Path) -> None:
        """:param directory: for a file with the image's ID."""
        self._storage = Storage()
        self._containers: list[str] = []
        base = self._storage.base()
        # By its ID: other checkouts may build the same version meanwhile.
        identity = directory / "image-id"
        _run(
            *(sys.executable, str(ROOT / "deploy" / "image" / "build.py"), "--tool", "buildah"),
            *("--build-arg", f"BASE_IMAGE={base}", *BUILD_OPTIONS, "--iidfile", str(identity)),
            environ=self._storage.environ,
        )
        self._id = identity.read_text().removeprefix("sha256:")
        try:
            self.root, self.base = self._mounted(self._id), self._mounted(base)
            told = json.loads(self._storage.buildah("inspect", "--type", "image", self._id))
            self.config: dict[str, Any] = told["Docker"]["config"]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the image; the base stays for the next run."""
        for container in self._containers:
            self._storage.buildah("rm", container)
        self._storage.buildah("rmi", "--force", self._id)

    def _mounted(self, image: str) -> Path:
        container = self._storage.buildah("from", "--pull-never", image)
        self._containers.append(container)
        return Path(self._storage.buildah("mount", container))


def _run(*line: str, environ: Mapping[str, str]) -> str:
    done = subprocess.run(line, env=environ, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{' '.join(line)}:\n{(done.stdout + done.stderr)[-5000:]}")
    return done.stdout.strip()
