# SPDX-License-Identifier: Apache-2.0
"""Which cookie a transport's token is in."""

from __future__ import annotations

import pytest

from wsgi_ws.transport import Transport, cookie_name


@pytest.mark.parametrize("configured", ["", "async-token", "superset-ws-token"])
def test_with_either_default_each_transport_has_its_own_cookie(configured: str) -> None:
    assert cookie_name(Transport.STREAMS, configured) == "async-token"
    assert cookie_name(Transport.REALTIME, configured) == "superset-ws-token"


@pytest.mark.parametrize("transport", Transport)
def test_a_name_of_the_operators_own_counts_for_both(transport: Transport) -> None:
    assert cookie_name(transport, "bi-token") == "bi-token"
