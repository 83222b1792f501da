# SPDX-License-Identifier: Apache-2.0
"""The project's gunicorn settings, and a catch-up that gives up on Redis after two seconds."""

import runpy
from pathlib import Path
from typing import Any

globals().update(runpy.run_path(str(Path(__file__).parents[3] / "gunicorn.conf.py")))


def post_worker_init(worker: Any) -> None:
    """Called when the standard library has been patched and before the service starts."""
    from wsgi_ws.sources.streams import catchup

    catchup.PATIENCE = 2.0
