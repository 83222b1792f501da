# SPDX-License-Identifier: Apache-2.0
"""The keys of Superset's streams in Redis. Pure.

Superset writes every event twice: into its channel's own stream and into the global one.
"""

from __future__ import annotations

_GLOBAL = "full"


def global_stream(prefix: str) -> str:
    """Key of the stream that has the events of all channels."""
    return prefix + _GLOBAL


def channel_stream(prefix: str, channel: str) -> str:
    """Key of the stream that has one channel's events."""
    return prefix + channel


def prefix_of(global_stream: str) -> str:
    """The prefix in the key of a global stream."""
    return global_stream.removesuffix(_GLOBAL)
