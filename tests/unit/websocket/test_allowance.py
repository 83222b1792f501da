# SPDX-License-Identifier: Apache-2.0
"""The allowance of one client: frames and bytes in a window of a second."""

from __future__ import annotations

from wsgi_ws.websocket.allowance import Allowance

NOW = 1e6


def test_frames_up_to_the_limit_are_permitted() -> None:
    allowance = Allowance(10, 0, NOW)
    assert sum(allowance.take_frame() for _ in range(20)) == 10


def test_bytes_up_to_the_limit_are_permitted() -> None:
    allowance = Allowance(0, 1000, NOW)
    assert allowance.take_bytes(999)
    assert allowance.take_bytes(1)
    assert not allowance.take_bytes(1)


def test_one_piece_above_the_limit_is_not_permitted() -> None:
    assert not Allowance(0, 1000, NOW).take_bytes(1001)


def test_frames_and_bytes_have_limits_of_their_own() -> None:
    allowance = Allowance(1, 1, NOW)
    assert allowance.take_frame()
    assert allowance.take_bytes(1)


def test_the_window_lasts_a_second() -> None:
    allowance = Allowance(1, 1, NOW)
    assert [allowance.is_over(NOW + passed) for passed in (0, 0.9, 1.0, 5.0)] == [
        *(False, False, True, True)
    ]


def test_zero_means_no_limit() -> None:
    allowance = Allowance(0, 0, NOW)
    assert allowance.take_bytes(2**40)
    assert allowance.take_frame()
