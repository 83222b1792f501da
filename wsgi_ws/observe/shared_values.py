# SPDX-License-Identifier: Apache-2.0
"""The metrics of several workers, added up: each one's values as a file in a common directory.

Each worker writes its own file from time to time; whoever is scraped reads them all, its own too: a
counter must not go back because another worker answers. The master adds the counters of ended
workers to one sum. Metrics are optional: nothing that happens to these files may end a process, and
each trouble is told once.

The master needs this module too, so it must not import prometheus-client.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

SUFFIX = ".json"
_LIVE = "worker-"
_ENDED = "ended-"  # not in the sum yet
_SUM = "sum"
_TRIES = 10  # readings of the directory while workers end


class Series(NamedTuple):
    """What a value belongs to.

    :ivar family: the metric's name in its declaration.
    :ivar sample: its name in the text, like that with `_bucket`.
    """

    family: str
    sample: str
    labels: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Values:
    """What a process, or several together, have counted.

    :ivar counters: these stay when a worker ends; buckets of histograms are among them.
    :ivar gauges: these go with it.
    """

    counters: dict[Series, float] = field(default_factory=dict)
    gauges: dict[Series, float] = field(default_factory=dict)


class WorkerFile:
    """One worker's file, and its view of all of them."""

    def __init__(self, directory: str | None, name: str) -> None:
        """
        :param directory: None: nothing is shared.
        :param name: no other worker of the same master has ever had it.
        """
        self._directory = Path(directory) if directory else None
        self._name = _LIVE + name + SUFFIX
        self._trouble = _Trouble()

    def write(self, values: Values) -> None:
        """Let the others see these values, if that is possible."""
        if self._directory is None:
            return
        content = {"counters": _listed(values.counters), "gauges": _listed(values.gauges)}
        try:
            self._make_again(self._directory)
            _replace(self._directory / self._name, content)
        except OSError as error:
            self._trouble.tell(
                "writing",
                f"this worker's metrics can't be written to {self._directory} ({error.strerror}): "
                "/metrics misses them when another worker answers; make room there, or set "
                "PROMETHEUS_MULTIPROC_DIR to another directory and restart",
            )
        else:
            self._trouble.over("writing")

    def read(self, own: Values) -> list[Values]:
        """What all workers have written, and the sum of those that have ended.

        :param own: stands for this worker as long as it has no file.
        """
        for _ in range(_TRIES):
            before = self._version_of_the_sum()
            found = self._read()
            if found is not None and self._version_of_the_sum() == before:
                break
        by_name = found or {}
        by_name.setdefault(self._name, own)
        return list(by_name.values())

    def _make_again(self, directory: Path) -> None:
        """Whoever tidies up temporary files may have taken it."""
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            return
        log.warning(
            "the directory for metrics %s was removed while it was in use, and is made again: the "
            "counts of ended workers are missing until the next one ends",
            directory,
        )

    def _version_of_the_sum(self) -> tuple[int, int] | None:
        if self._directory is not None:
            with contextlib.suppress(OSError):
                stat = (self._directory / (_SUM + SUFFIX)).stat()
                return stat.st_ino, stat.st_mtime_ns
        return None

    def _read(self) -> dict[str, Values] | None:
        """None: a file went while the directory was read."""
        merged: set[str] = set()
        found: dict[str, Values] = {}
        for path in sorted(_files_in(self._directory), reverse=True):  # the sum before the ended
            if path.name in merged:
                continue
            try:
                values, in_it = _load(path)
            except FileNotFoundError:
                return None
            except _Damaged as damage:
                self._trouble.tell(path.name, f"{damage}: it is left out of /metrics")
                continue
            if path.name.startswith(_ENDED):
                values.gauges.clear()
            merged.update(in_it)
            found[path.name] = values
        return found


class Sum:
    """What ended workers have counted; kept by the master."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._total = Values()
        self._waiting: list[str] = []  # names of workers that have ended
        self._merged: list[str] = []  # files that are in the sum and not removed yet
        self._at_work = False
        self._trouble = _Trouble()

    def add(self, name: str) -> None:
        """A worker has ended: its counters go into the sum, its gauges and its file go.

        May be called within itself: gunicorn hears of an end in a signal handler.
        """
        self._waiting.append(name)
        if self._at_work:
            return
        self._at_work = True
        try:
            while self._waiting:
                self._take(self._waiting.pop(0))
        finally:
            self._at_work = False

    def _take(self, name: str) -> None:
        ended = self._directory / (_ENDED + name + SUFFIX)
        try:
            # From here on nobody counts its gauges, whatever fails below.
            (self._directory / (_LIVE + name + SUFFIX)).rename(ended)
            values, _ = _load(ended)
        except FileNotFoundError:
            return  # it has never got so far as to write one, or the directory is gone
        except _Damaged as damage:
            self._trouble.tell("damaged", f"{damage}: what this worker has counted is lost")
            with contextlib.suppress(OSError):
                ended.unlink()
            return
        except OSError as error:
            self._tell(error)
            return
        for series, value in values.counters.items():
            self._total.counters[series] = self._total.counters.get(series, 0.0) + value
        self._merged.append(ended.name)
        self._write()

    def _write(self) -> None:
        """Nobody may see a worker twice, or not at all: the sum names what is in it, and only then
        the files go."""
        content = {"counters": _listed(self._total.counters), "gauges": [], "merged": self._merged}
        try:
            _replace(self._directory / (_SUM + SUFFIX), content)
            while self._merged:
                (self._directory / self._merged[-1]).unlink(missing_ok=True)
                self._merged.pop()
        except OSError as error:
            self._tell(error)
        else:
            self._trouble.over("writing")

    def _tell(self, error: OSError) -> None:
        self._trouble.tell(
            "writing",
            f"the metrics of ended workers can't be added up in {self._directory} "
            f"({error.strerror}): their files stay there",
        )


class _Trouble:
    """Warns once of each kind of trouble, and again after it was over."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, kind: str, sentence: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            log.warning("%s", sentence)

    def over(self, kind: str) -> None:
        self._told.discard(kind)


class _Damaged(Exception):
    """A file is not what one of these processes has written."""


def _files_in(directory: Path | None) -> list[Path]:
    if directory is None:
        return []
    try:
        return [directory / name for name in os.listdir(directory) if name.endswith(SUFFIX)]
    except OSError:
        return []  # told by `write`


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file so that it is seen as it was before, or whole.

    It is made afresh: where the directory is another user's (`gunicorn -u`), or was made again by
    somebody else, a link there leads nowhere.
    """
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    try:
        with fresh.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)  # master and workers may be two users; others see none
            file.write(json.dumps(content))  # faster than json.dump
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()  # half a file takes room from others
        raise


def _listed(values: Mapping[Series, float]) -> list[Any]:
    return [[*series, value] for series, value in values.items()]


def _load(path: Path) -> tuple[Values, list[str]]:
    """The values of a file, and the names of the files that are in it already.

    :raises FileNotFoundError: when there is none.
    :raises _Damaged: when it can't be read, or is not one of these.
    """
    try:
        content = json.loads(path.read_bytes())
        values = Values(_valued(content["counters"]), _valued(content["gauges"]))
        return values, [str(name) for name in content.get("merged", ())]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _Damaged(f"the metrics' file {path} can't be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _Damaged(f"the metrics' file {path} is damaged") from None


def _valued(entries: Iterable[Any]) -> dict[Series, float]:
    return {
        Series(str(family), str(sample), tuple((str(k), str(v)) for k, v in labels)): float(value)
        for family, sample, labels, value in entries
    }
