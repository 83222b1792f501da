# SPDX-License-Identifier: Apache-2.0
"""Workers' metrics, added up from files, while workers end and files are in trouble."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wsgi_ws.observe.counts import BAD_REQUESTS, REFUSED
from wsgi_ws.observe.prometheus import Prometheus
from wsgi_ws.observe.shared_values import Series, Sum, Values, WorkerFile

SERIES = Series("family", "family_total", (("reason", "x"),))
GAUGE = Series("gauge", "gauge", ())


def counted(file: WorkerFile) -> float:
    """What a worker would answer for all."""
    return sum(values.counters.get(SERIES, 0.0) for values in file.read(Values()))


def gauges(file: WorkerFile) -> float:
    return sum(values.gauges.get(GAUGE, 0.0) for values in file.read(Values()))


def written(directory: Path, name: str, count: float) -> WorkerFile:
    file = WorkerFile(str(directory), name)
    file.write(Values({SERIES: count}, {GAUGE: 1.0}))
    return file


def test_a_worker_sees_what_others_have_written(tmp_path: Path) -> None:
    first = written(tmp_path, "1", 3)
    written(tmp_path, "2", 4)
    written(tmp_path, "2", 5)
    assert (counted(first), gauges(first)) == (8, 2)


def test_it_answers_as_the_others_would_until_it_has_shared_more(tmp_path: Path) -> None:
    file = written(tmp_path, "1", 3)
    assert file.read(Values({SERIES: 4.0})) == [Values({SERIES: 3.0}, {GAUGE: 1.0})]


def test_a_worker_that_has_not_written_anything_yet_counts_all_the_same(tmp_path: Path) -> None:
    own = Values({SERIES: 4.0})
    assert WorkerFile(str(tmp_path), "1").read(own) == [own]


def test_without_a_directory_nothing_is_shared() -> None:
    file = WorkerFile(None, "1")
    file.write(Values({SERIES: 1.0}))
    assert file.read(Values({SERIES: 2.0})) == [Values({SERIES: 2.0})]


# --- workers that end ----------------------------------------------------------------------------


def test_of_an_ended_worker_the_counters_stay_and_the_gauges_go(tmp_path: Path) -> None:
    first = written(tmp_path, "1", 3)
    written(tmp_path, "2", 4)
    Sum(str(tmp_path)).add("2")
    assert (counted(first), gauges(first)) == (7, 1)


def test_ended_workers_leave_one_file(tmp_path: Path) -> None:
    ended = Sum(str(tmp_path))
    for number in range(100):
        written(tmp_path, str(number), 1)
        ended.add(str(number))
    assert [path.name for path in tmp_path.iterdir()] == ["sum.json"]
    assert counted(WorkerFile(str(tmp_path), "101")) == 100


def test_workers_of_another_user_can_read_the_sum_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        written(tmp_path, "1", 1)
        Sum(str(tmp_path)).add("1")
    finally:
        os.umask(before)
    assert (tmp_path / "sum.json").stat().st_mode & 0o777 == 0o644


def test_a_worker_that_never_wrote_anything_changes_nothing(tmp_path: Path) -> None:
    Sum(str(tmp_path)).add("1")
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_worker_while_another_ones_is_handled_is_counted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = Sum(str(tmp_path))
    for name in ("1", "2"):
        written(tmp_path, name, 1)
    dumps = json.dumps

    def interrupted(content: Any) -> str:
        monkeypatch.setattr(json, "dumps", dumps)
        ended.add("2")
        return dumps(content)

    monkeypatch.setattr(json, "dumps", interrupted)
    ended.add("1")
    assert counted(WorkerFile(str(tmp_path), "3")) == 2
    assert ([path.name for path in tmp_path.iterdir()], caplog.messages) == (["sum.json"], [])


@pytest.mark.parametrize("operation", ["rename", "replace", "unlink"])
def test_no_reader_sees_a_worker_twice_or_not_at_all_while_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    reader = WorkerFile(str(tmp_path), "3")
    written(tmp_path, "1", 1)
    seen = []
    original = getattr(Path, operation)

    def observed(path: Path, *arguments: Any, **options: Any) -> Any:
        seen.append(counted(reader))
        result = original(path, *arguments, **options)
        seen.append(counted(reader))
        return result

    monkeypatch.setattr(Path, operation, observed)
    Sum(str(tmp_path)).add("1")
    assert seen
    assert set(seen) == {1}


def test_a_reader_starts_again_when_a_worker_ends_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, ended = WorkerFile(str(tmp_path), "3"), Sum(str(tmp_path))
    for name in ("1", "2"):
        written(tmp_path, name, 1)
    ended.add("1")
    read_bytes = Path.read_bytes

    def interrupted(path: Path) -> bytes:
        content = read_bytes(path)
        if path.name == "worker-2.json":  # read as a living one, and now it is in the sum
            monkeypatch.setattr(Path, "read_bytes", read_bytes)
            ended.add("2")
        return content

    monkeypatch.setattr(Path, "read_bytes", interrupted)
    assert counted(reader) == 2


# --- trouble -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"counters": 5, "gauges": []}', '{"counters": [[1]], "gauges": []}']
)
def test_a_damaged_file_is_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    file = written(tmp_path, "1", 3)
    written(tmp_path, "2", 4)
    (tmp_path / "worker-3.json").write_text(content)
    assert [counted(file) for _ in range(3)] == [7, 7, 7]
    (message,) = caplog.messages
    assert "worker-3.json is damaged" in message


def test_a_damaged_file_of_an_ended_worker_is_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "worker-3.json").write_text("")
    Sum(str(tmp_path)).add("3")
    assert list(tmp_path.iterdir()) == []
    assert len(caplog.messages) == 1


def test_a_directory_that_was_removed_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "metrics"
    place.mkdir()
    first = written(place, "1", 3)
    shutil.rmtree(place)
    written(place, "2", 4)
    assert counted(first) == 4
    assert len(caplog.messages) == 1


def test_when_it_can_not_be_made_again_the_worker_goes_on_alone_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = WorkerFile(str(tmp_path / "unmounted" / "metrics"), "1")
    for _ in range(3):
        file.write(Values())
    assert file.read(Values({SERIES: 2.0})) == [Values({SERIES: 2.0})]
    (message,) = caplog.messages
    assert "No such file or directory" in message


def test_on_a_full_file_system_the_last_values_stay_and_half_a_file_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path, "1", 3)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dumps", full)
    file.write(Values({SERIES: 5.0}))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["worker-1.json"]
    assert counted(WorkerFile(str(tmp_path), "2")) == 3
    file.write(Values({SERIES: 6.0}))
    assert counted(WorkerFile(str(tmp_path), "2")) == 6
    assert ["No space left on device" in message for message in caplog.messages] == [True]


def test_the_sum_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, reader = Sum(str(tmp_path)), WorkerFile(str(tmp_path), "9")
    for name in ("1", "2"):
        written(tmp_path, name, 1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dumps", full)
    ended.add("1")
    assert (counted(reader), gauges(reader)) == (2, 1)
    monkeypatch.undo()
    ended.add("2")
    assert counted(reader) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["sum.json"]


# --- together with the library -------------------------------------------------------------------


def test_what_one_worker_has_told_the_others_tell_too(tmp_path: Path) -> None:
    """A counter that goes back would be a restart to Prometheus."""
    workers = [Prometheus(WorkerFile(str(tmp_path), str(number))) for number in (1, 2)]
    workers[0].add(BAD_REQUESTS, 3)
    for worker in workers:
        assert b"wsgi_ws_bad_requests_total 3.0" in worker.scrape()[1]


def test_what_is_scraped_is_the_sum_of_all(tmp_path: Path) -> None:
    workers = [Prometheus(WorkerFile(str(tmp_path), str(number))) for number in (1, 2)]
    for lag, worker in enumerate(workers, 1):
        worker.add(BAD_REQUESTS, 2)
        worker.transport_gauges["connections"].labels("streams").set(5)
        worker.transport_gauges["lag"].labels("streams").set(lag)
        worker.silence.set(100 * lag)
        worker.loop_delay.observe(0.02)
        worker.share()
    workers[1].add(REFUSED, 1, ["expired"])
    workers[1].share()
    _, text = workers[0].scrape()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert found["wsgi_ws_bad_requests_total",] == 4
    assert found["wsgi_ws_workers",] == 0  # set by a report
    assert found["wsgi_ws_handshakes_refused_total", "expired"] == 1
    assert found["wsgi_ws_connections", "streams"] == 10
    assert found["wsgi_ws_reader_lag_seconds", "streams"] == 2
    assert found["wsgi_ws_realtime_silence_seconds",] == 200
    assert found["wsgi_ws_loop_delay_seconds_bucket", "0.01"] == 0
    assert found["wsgi_ws_loop_delay_seconds_bucket", "0.025"] == 2
    assert found["wsgi_ws_loop_delay_seconds_count",] == 2
    assert not any(name.endswith("_created") for name, *_ in found)
