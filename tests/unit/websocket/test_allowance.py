# SPDX-License-Identifier: Apache-2.0
"""The allowances of clients: frames and bytes in a window of a second."""

from __future__ import annotations

from wsgi_ws.websocket.allowance import Allowance, Allowances

NOW = 1e6


def test_frames_up_to_the_limit_are_permitted() -> None:
    allowance = Allowance(10, 0)
    assert sum(allowance.take_frame() for _ in range(20)) == 10


def test_bytes_up_to_the_limit_are_permitted() -> None:
    allowance = Allowance(0, 1000)
    assert allowance.take_bytes(999)
    assert allowance.take_bytes(1)
    assert not allowance.take_bytes(1)


def test_one_piece_above_the_limit_is_not_permitted() -> None:
    assert not Allowance(0, 1000).take_bytes(1001)


def test_frames_and_bytes_have_limits_of_their_own() -> None:
    allowance = Allowance(1, 1)
    assert allowance.take_frame()
    assert allowance.take_bytes(1)


def test_the_window_lasts_a_second() -> None:
    allowances = Allowances(1, 1)
    first = allowances.of("a", NOW)
    of_later = [allowances.of("a", NOW + passed) is first for passed in (0, 0.9, 1.0, 5.0)]
    assert of_later == [True, True, False, False]


def test_every_client_has_an_allowance_of_its_own() -> None:
    allowances = Allowances(1, 0)
    assert allowances.of("a", NOW).take_frame()
    assert allowances.of("b", NOW).take_frame()
    assert not allowances.of("a", NOW).take_frame()


def test_a_window_that_is_over_is_forgotten_with_all_its_clients() -> None:
    allowances = Allowances(1, 1)
    for client in range(100):
        allowances.of(client, NOW)
    allowances.of("another", NOW + 1.0)
    assert len(allowances) == 1


def test_zero_means_no_limit() -> None:
    allowance = Allowance(0, 0)
    assert allowance.take_bytes(2**40)
    assert allowance.take_frame()
