# SPDX-License-Identifier: Apache-2.0
"""gunicorn's settings file in a checkout: the same as of `wsgi-ws serve`."""

import os

from wsgi_ws.server.settings import gunicorn_settings

globals().update(gunicorn_settings(os.environ))
