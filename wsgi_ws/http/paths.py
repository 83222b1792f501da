# SPDX-License-Identifier: Apache-2.0
"""The paths that plain HTTP is served at. Pure: the application and the handshake import it."""

from __future__ import annotations

HEALTH = "/health"
READY = "/ready"
METRICS = "/metrics"
PLAIN_PATHS = (HEALTH, READY, METRICS)
