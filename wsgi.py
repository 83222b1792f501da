# SPDX-License-Identifier: Apache-2.0
"""The WSGI entry point of `gunicorn -c gunicorn.conf.py wsgi:app` in a checkout."""

from wsgi_ws.server.entry.wsgi import app

__all__ = ["app"]
