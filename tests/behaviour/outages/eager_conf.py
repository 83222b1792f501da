# SPDX-License-Identifier: Apache-2.0
"""The project's gunicorn settings, and short waits for Redis however often it is lost."""

import runpy
from pathlib import Path
from typing import Any

globals().update(runpy.run_path(str(Path(__file__).parents[3] / "gunicorn.conf.py")))


def post_worker_init(worker: Any) -> None:
    """Called when the standard library has been patched and before the service starts."""
    from wsgi_ws.sources import link

    link.RETRY_DELAY_MAX = link.RETRY_DELAY_MIN
