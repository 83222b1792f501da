# SPDX-License-Identifier: Apache-2.0
"""The project's gunicorn settings, with reports and summaries in quick succession."""

import runpy
from pathlib import Path
from typing import Any

globals().update(runpy.run_path(str(Path(__file__).parents[3] / "gunicorn.conf.py")))


def post_worker_init(worker: Any) -> None:
    """Called when the standard library has been patched and before the service starts."""
    from wsgi_ws import service
    from wsgi_ws.observe import reporter

    reporter.FIRST_REPORT = 0.2
    reporter.REPORT_INTERVAL = 0.2
    reporter.SUMMARY_INTERVAL = 1.0
    service.ALIKE_INTERVAL = 1.0
