# SPDX-License-Identifier: Apache-2.0
"""Runs an image as a hardened container: as process 1, with a read-only root and /tmp in memory.

By unshare and chroot, which also work where no container runtime may. The network is the host's,
whose loopback has the test's Redis.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from testbed.container_image import Image
from testbed.servers import DEADLINE, eventually

# Runs in namespaces of its own. Its arguments: the image's root, a directory for the container's,
# USER:GROUP, pairs of what is mounted and where up to --, and what to execute. A layer in memory
# has the mount points; when all is mounted the root becomes read-only.
_ENTER = r"""
set -eu
image=$1 container=$2 user=$3
shift 3
mount --make-rprivate /
mount -t tmpfs layer "$container"
mkdir "$container/upper" "$container/work" "$container/root"
root=$container/root
layers="lowerdir=$image,upperdir=$container/upper,workdir=$container/work"
mount -t overlay -o "$layers" overlay "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then
    mkdir -p "$root$2"
  else
    mkdir -p "$(dirname "$root$2")"
    touch "$root$2"
  fi
  mount --bind "$1" "$root$2"
  mount -o remount,bind,ro "$root$2"
  shift 2
done
shift
mount -o remount,ro "$root"
exec chroot --userspec="$user" --groups= "$root" "$@"
"""


class Container:
    """One that runs."""

    def __init__(
        self,
        image: Image,
        directory: Path,
        *,
        environ: Mapping[str, str],
        user: str | None = None,
        command: Sequence[str] | None = None,
        mounts: Mapping[Path, str] | None = None,
    ) -> None:
        """
        :param directory: where its output is put.
        :param environ: on top of the image's; nothing comes from the test's own.
        :param user: numbers, USER:GROUP; the image's by default.
        :param command: instead of the image's.
        :param mounts: the host's files and directories → where they are inside, read-only.
        """
        self._image = image
        self._user = user or str(image.config["User"])
        self._environ = [*image.config["Env"], *(f"{k}={v}" for k, v in environ.items())]
        own = Path(tempfile.mkdtemp(prefix="container-", dir=directory))
        self.log_path = own / "log"
        (own / "root").mkdir()
        pairs = [str(each) for pair in (mounts or {}).items() for each in pair]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--"),
                    *("sh", "-c", _ENTER, "sh", str(image.root), str(own / "root")),
                    *(self._user, *pairs, "--"),
                    *self._line(command or image.config["Cmd"]),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Of the container's process 1, as the host sees it."""
        unshare = psutil.Process(self._process.pid)
        return eventually(unshare.children, "the container has a process")[0].pid

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as `docker exec` does."""
        user, group = self._user.split(":")
        return subprocess.run(
            [
                *("nsenter", "--target", str(self.pid), "--mount", "--pid", "--root"),
                *("--setuid", user, "--setgid", group, "--", *self._line(command)),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def log_text(self) -> str:
        """All output so far."""
        return self.log_path.read_text(errors="replace")

    def has_ended(self) -> bool:
        """Whether process 1 has."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Until it ends; returns its exit status."""
        return self._process.wait(DEADLINE)

    def terminate(self) -> int:
        """The image's stop signal to process 1, as `docker stop` sends it; returns the status."""
        os.kill(self.pid, signal.Signals[self._image.config["StopSignal"]])
        return self.wait()

    def close(self) -> None:
        """End it, whatever it does."""
        # Not unshare, whose --kill-child the kernel forgets when the child becomes another user: an
        # end of process 1 is the end of all that is in the container, and then of unshare.
        while not self.has_ended():
            children = psutil.Process(self._process.pid).children()
            for process in children or [psutil.Process(self._process.pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def _line(self, command: Sequence[str]) -> list[str]:
        # HOME and the like are not set: a runtime may leave them out for a user without an entry.
        directory = str(self._image.config["WorkingDir"])
        return ["/usr/bin/env", "-i", "-C", directory, *self._environ, *command]
