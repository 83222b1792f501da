# SPDX-License-Identifier: Apache-2.0
"""The allowance of one client: frames and bytes per window of a second."""

from __future__ import annotations

from wsgi_ws.websocket.allowance import Allowance

NOW = 1e6


def frames_permitted(allowance: Allowance, asked: int) -> int:
    return sum(allowance.take_frame() for _ in range(asked))


def test_frames_up_to_the_limit_are_permitted() -> None:
    assert frames_permitted(Allowance(10, 0, NOW), 20) == 10


def test_bytes_up_to_the_limit_are_permitted() -> None:
    allowance = Allowance(0, 1000, NOW)
    assert allowance.take_bytes(999, NOW)
    assert allowance.take_bytes(1, NOW)
    assert not allowance.take_bytes(1, NOW)


def test_one_piece_above_the_limit_is_not_permitted() -> None:
    assert not Allowance(0, 1000, NOW).take_bytes(1001, NOW)


def test_frames_and_bytes_have_limits_of_their_own() -> None:
    allowance = Allowance(1, 1, NOW)
    assert allowance.take_frame()
    assert allowance.take_bytes(1, NOW)


def test_the_window_lasts_a_second() -> None:
    allowance = Allowance(10, 1000, NOW)
    allowance.take_bytes(1000, NOW)
    frames_permitted(allowance, 10)
    assert not allowance.take_bytes(1, NOW + 0.9)
    assert not allowance.take_frame()


def test_bytes_after_the_window_begin_a_new_one() -> None:
    allowance = Allowance(10, 1000, NOW)
    allowance.take_bytes(1000, NOW)
    frames_permitted(allowance, 10)
    assert allowance.take_bytes(1000, NOW + 1.0)
    assert frames_permitted(allowance, 20) == 10


def test_a_window_begins_when_the_client_sends_not_when_the_last_one_ended() -> None:
    allowance = Allowance(0, 1000, NOW)
    assert allowance.take_bytes(600, NOW + 1.5)
    assert not allowance.take_bytes(600, NOW + 2.4)
    assert allowance.take_bytes(600, NOW + 2.5)


def test_zero_means_no_limit() -> None:
    allowance = Allowance(0, 0, NOW)
    assert allowance.take_bytes(2**40, NOW)
    assert allowance.take_frame()
