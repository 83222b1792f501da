# SPDX-License-Identifier: Apache-2.0
"""`make run`, without make: a demo on free ports, with a Redis of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from testbed.ports import free_port
from testbed.servers import DEADLINE, ROOT, eventually


class Demo:
    """A running demo, with its output in a file."""

    def __init__(self, directory: Path, redis_port: int = 1, **environ: str) -> None:
        """
        :param directory: where it runs and its log is put. A config.json of the developer's, in
            the repository, has no say.
        :param redis_port: nothing listens on 1, so that the demo has to start a Redis.
        """
        self._log = directory / "demo.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("REDIS_", "JWT_"))}
        port = str(free_port())  # whichever comes second takes the next free one
        own = {"PYTHONPATH": str(ROOT), "PORT": port, "DEMO_PORT": port}
        own["REDIS_PORT"] = str(redis_port)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wsgi_ws.demo"],
                cwd=directory,
                env=inherited | own | environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def url(self) -> str:
        """The printed address, once everything is up."""
        eventually(lambda: "Ctrl-C" in self.output or self.process.poll() is not None, "the URL")
        found = re.search(r"http://localhost:\d+/", self.output)
        assert found, self.output
        return found[0]

    def stop(self) -> int:
        """SIGTERM; returns its exit code when it has ended."""
        self.process.terminate()
        return self.process.wait(DEADLINE)
