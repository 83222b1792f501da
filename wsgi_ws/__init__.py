# SPDX-License-Identifier: Apache-2.0
"""WebSocket server for Apache Superset's asynchronous queries.

Importing it has no side effects and loads nothing: gunicorn's master, which needs no more than the
configuration, stays small.
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
