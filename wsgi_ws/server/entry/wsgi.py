# SPDX-License-Identifier: Apache-2.0
"""The WSGI application that gunicorn's workers load."""

from gevent import monkey

monkey.patch_all()

from wsgi_ws.http.app import create_app  # noqa: E402  everything else is imported patched

app = create_app()
