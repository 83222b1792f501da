# SPDX-License-Identifier: Apache-2.0
"""Superset's settings for `python -m interop`: README's, and what a machine of tests needs besides.

Superset itself reads this file (SUPERSET_CONFIG_PATH) in its own environment, so it imports nothing
of this project. What differs from run to run comes in environment variables.
"""

import json
import os
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

from flask import has_request_context
from superset.config import TALISMAN_CONFIG as DEFAULT_TALISMAN_CONFIG

_HOME = Path(os.environ["INTEROP_HOME"])
_REDIS_PORT = int(os.environ["INTEROP_REDIS_PORT"])

# --- README's "Superset's side" -------------------------------------------------------------------

FEATURE_FLAGS = {
    "GLOBAL_ASYNC_QUERIES": True,
    "EMBEDDED_SUPERSET": True,
}
GLOBAL_ASYNC_QUERIES_TRANSPORT = "ws"
GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL = os.environ["INTEROP_WEBSOCKET_URL"]
GLOBAL_ASYNC_QUERIES_JWT_SECRET = os.environ["INTEROP_JWT_SECRET"]
GLOBAL_ASYNC_QUERIES_CACHE_BACKEND = {
    "CACHE_TYPE": "RedisCache",
    "CACHE_REDIS_HOST": "127.0.0.1",
    "CACHE_REDIS_PORT": _REDIS_PORT,
    "CACHE_REDIS_DB": 0,
}
CACHE_CONFIG = {
    "CACHE_TYPE": "RedisCache",
    "CACHE_REDIS_URL": f"redis://127.0.0.1:{_REDIS_PORT}/1",
}
DATA_CACHE_CONFIG = CACHE_CONFIG

# Where the socket has another port than the page, its URL is named in connect-src, and an iframe's
# page is let in. Behind nginx Superset's default policy stays as it is.
if os.environ.get("INTEROP_OTHER_ORIGINS"):
    TALISMAN_CONFIG: dict[str, Any] = deepcopy(DEFAULT_TALISMAN_CONFIG)
    _POLICY = TALISMAN_CONFIG["content_security_policy"]
    _POLICY["connect-src"].append(GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL)
    _POLICY["frame-ancestors"] = ["'self'", "http://localhost:*"]
    TALISMAN_CONFIG["frame_options"] = None


class CeleryConfig:
    broker_url = f"redis://127.0.0.1:{_REDIS_PORT}/2"
    result_backend = f"redis://127.0.0.1:{_REDIS_PORT}/2"
    imports = ("superset.sql_lab", "superset.tasks.async_queries")
    broker_connection_retry_on_startup = True


CELERY_CONFIG = CeleryConfig

# --- the machine of tests -------------------------------------------------------------------------

SECRET_KEY = "a-secret-of-tests-with-more-than-32-bytes"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_HOME}/superset.db?timeout=30"
PREVENT_UNSAFE_DB_CONNECTIONS = False  # the data are in an SQLite file too
GUEST_TOKEN_JWT_SECRET = SECRET_KEY
PUBLIC_ROLE_LIKE = "Gamma"  # anonymous visitors and guests see what the role `Public` may see


def SQL_QUERY_MUTATOR(sql: str, **_: Any) -> str:  # noqa: N802
    """Make a query of the worker as slow as the scenario wants it: seconds in a file."""
    slowness = _HOME / "slowness.json"
    if slowness.exists() and not has_request_context():
        time.sleep(json.loads(slowness.read_text()))
    return sql
