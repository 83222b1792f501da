# SPDX-License-Identifier: Apache-2.0
"""WebSocket server for Apache Superset's asynchronous queries. Importing it has no side effects."""

from wsgi_ws.app import create_app

__all__ = ["__version__", "create_app"]
__version__ = "0.1.0"
