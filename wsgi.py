# SPDX-License-Identifier: Apache-2.0
"""The WSGI entry point of `gunicorn -c gunicorn.conf.py wsgi:app`."""

from gevent import monkey

monkey.patch_all()

from wsgi_ws.http.app import create_app  # noqa: E402  everything else is imported patched

app = create_app()
