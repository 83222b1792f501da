# SPDX-License-Identifier: Apache-2.0
"""A test event has the members of Superset's."""

from __future__ import annotations

from wsgi_ws.cli.publish import event


def test_an_error_event_has_an_error() -> None:
    assert event("c", status="error")["errors"]
    assert event("c")["errors"] == []
