# SPDX-License-Identifier: Apache-2.0
"""Words for sentences that people read. Pure."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 stream`, `2000 streams`.

    :param many: the plural, if it is not made with an s.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
