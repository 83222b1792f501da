# SPDX-License-Identifier: Apache-2.0
"""The keys of the streams, as Superset writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.superset.stream_names import channel_stream, global_stream, prefix_of


def test_the_global_stream_is_called_full_behind_the_prefix() -> None:
    assert global_stream("async-events-") == "async-events-full"


def test_a_channels_stream_has_the_channels_name_behind_the_prefix() -> None:
    assert channel_stream("async-events-", "c1") == "async-events-c1"


@given(st.text())
def test_a_prefix_can_be_read_from_the_global_streams_key(prefix: str) -> None:
    assert prefix_of(global_stream(prefix)) == prefix
