# SPDX-License-Identifier: Apache-2.0
"""What gunicorn's master knows and prepares for its workers; its methods are gunicorn's hooks.

Runs in the master, which is not patched for gevent: no import of redis, PyJWT, Flask or
prometheus-client, here or below.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from wsgi_ws.command import command
from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import ConfigError, Loaded, load
from wsgi_ws.observe.log_output import STDERR, STDOUT, begin_in_worker, standard_stream
from wsgi_ws.server import log_file, open_files
from wsgi_ws.server.listening import bind_error, everywhere
from wsgi_ws.server.metrics_directory import DIRECTORY_VARIABLE, MetricsDirectory
from wsgi_ws.server.metrics_listener import MetricsListener
from wsgi_ws.server.options import Option, Options
from wsgi_ws.server.worker import Prepared, Worker, time_to_stop

log = logging.getLogger("wsgi_ws.config")

# Variables by which a master gets sockets that listen already: from another gunicorn, or systemd.
INHERITED = ("GUNICORN_PID", "GUNICORN_FD", "LISTEN_FDS")
GRACEFUL_TIMEOUT = 30  # gunicorn's default


@functools.cache
def master_of_this_process() -> Master:
    """The one object of the process.

    The service's only state of a module: gunicorn runs its configuration file again at each SIGHUP
    and gives it nothing by which it could find the configuration that is in use.
    """
    return Master()


class Master:
    """The configuration in use, the metrics' directory and their listener."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None
        self._problems: tuple[str, ...] = ()  # why the configuration of the last SIGHUP is not used
        # gunicorn's options that overrule what is here; they don't change while the process lives.
        self._bind: Option | None = None
        self._graceful_timeout: Option | None = None
        self._metrics_directory = MetricsDirectory()
        self._metrics_listener = MetricsListener()

    @property
    def loaded(self) -> Loaded:
        """The configuration in use."""
        assert self._loaded is not None, "configure comes first"
        return self._loaded

    @property
    def bind(self) -> list[str]:
        """gunicorn's setting, unless somebody gives it another."""
        return everywhere(self.loaded.settings.port)

    @property
    def graceful_timeout(self) -> int:
        """gunicorn's setting, unless somebody gives it another: seconds until it kills a worker
        that was told to stop."""
        return max(GRACEFUL_TIMEOUT, time_to_stop(self.loaded.settings))

    def configure(self, environ: Mapping[str, str]) -> Settings:
        """Load the configuration, at the start and at each SIGHUP.

        A wrong one ends the process at the start, with a line for each problem. At a SIGHUP the one
        before stays in use: a slip of the pen must not end a service that runs.
        """
        loaded, problems = _load(environ)
        if loaded is not None and self._loaded is not None:
            problems = tuple(self._out_of_reach(loaded))
        if not problems:
            self._loaded = loaded
        elif self._loaded is None:
            sys.exit("\n".join(f"wsgi_ws does not start: {line}" for line in problems))
        self._problems = problems
        return self.loaded.settings

    # --- gunicorn's hooks, in the order in which they are called ----------------------------------

    def on_starting(self, server: Any) -> None:
        """Refuse what can't work, warn of what may not be meant. Logging works from here on."""
        # Whoever prints, in the workers too, must not wait for a reader any more than a log line.
        sys.stdout, sys.stderr = standard_stream(STDOUT), standard_stream(STDERR)
        options = Options(server.cfg)
        self._bind = options.given("bind", self.bind)
        self._graceful_timeout = options.given("graceful_timeout", self.graceful_timeout)
        self._stop_at(*options.refused(), *self._impatience(self.loaded))
        open_files.raise_limit(self.loaded.settings.max_total_connections)
        self._stop_at(*self._listen_for_metrics())
        self._warn(*options.without_effect(), *self._occupied(server.cfg))

    def when_ready(self, server: Any) -> None:
        """Make what must be removed again: from here on gunicorn ends the master by `on_exit`."""
        wanted = os.environ.get(DIRECTORY_VARIABLE)
        self._metrics_directory.make(wanted, server.cfg.uid, server.cfg.gid)

    def on_reload(self, server: Any) -> None:
        """After a SIGHUP, before the new workers. To exit here would end the service."""
        for problem in self._problems or self._listen_for_metrics():
            log.error("not all of the configuration is changed: %s", problem)
        self._warn()

    def pre_fork(self, server: Any, worker: Any) -> None:
        """Let a worker's garbage collector leave alone what the master has made: memory that is not
        written to stays shared."""
        gc.freeze()

    def post_fork(self, server: Any, worker: Worker) -> None:
        """Give a worker, in its own process, what is prepared for it."""
        # gunicorn sets it after the patch only. Until then the master's handler, which a worker has
        # inherited, would lose the signal, and the worker would be left running.
        signal.signal(signal.SIGTERM, worker.handle_exit)
        begin_in_worker()
        self._metrics_directory.enter_worker(os.environ)
        worker.prepared = Prepared(
            self.loaded.settings, self._metrics_directory.path, self._metrics_listener.socket
        )

    def child_exit(self, server: Any, worker: Any) -> None:
        """A worker has ended, however."""
        self._metrics_directory.forget_worker(str(worker.age))

    def on_exit(self, server: Any) -> None:
        """The master ends."""
        self._metrics_listener.close()
        self._metrics_directory.remove()

    # --- their parts -----------------------------------------------------------------------------

    def _stop_at(self, *problems: str) -> None:
        for problem in problems:
            log.error("the service does not start: %s", problem)
        if problems:
            sys.exit(1)

    def _out_of_reach(self, loaded: Loaded) -> Iterator[str]:
        """What of a new configuration a service that runs can't have, and the remedy.

        gunicorn itself closes its sockets, tries for five seconds to listen anew, and ends.
        """
        old, new = self.loaded.settings.port, loaded.settings.port
        error = bind_error("", new) if self._bind is None and new != old else None
        if error:
            yield (
                f"port (from {loaded.set_by('port')}) is {new}, which can't be listened at "
                f"({error.strerror}): the service stays at {old} with its old configuration; "
                "choose another, or stop what listens there"
            )
        yield from self._impatience(loaded)

    def _impatience(self, loaded: Loaded) -> Iterator[str]:
        """That gunicorn would kill a worker before it has closed its sockets."""
        option, needed = self._graceful_timeout, time_to_stop(loaded.settings)
        if option and option.value < needed:
            yield (
                f"{option} is {option.value}, but a stop may take {needed} s by drainMs (from "
                f"{loaded.set_by('drainMs')}) and closeTimeoutMs (from "
                f"{loaded.set_by('closeTimeoutMs')}), and gunicorn would kill the worker before it "
                f"has closed its sockets: leave the option out, or give it {needed} or more"
            )

    def _warn(self, *more: str) -> None:
        for warning in (*self.loaded.warnings, *self._port_without_effect(), *more):
            log.warning("%s", warning)

    def _port_without_effect(self) -> Iterator[str]:
        bind, port, source = self._bind, self.loaded.settings.port, self.loaded.sources.get("port")
        if bind and source and not any(each.endswith(f":{port}") for each in bind.value):
            yield (
                f"{bind} is {', '.join(bind.value)} and wins: port {port} (from {source}) has no "
                "effect"
            )

    def _occupied(self, cfg: Any) -> Iterator[str]:
        """That an address can't be had now. gunicorn tries for five seconds, in which whoever has
        it may end, and says neither who has set it nor what to do."""
        if cfg.reuse_port or any(name in os.environ for name in INHERITED):
            return
        bind = self._bind or f"port (from {self.loaded.set_by('port')})"
        for host, port in (address for address in cfg.address if isinstance(address, tuple)):
            try:
                error = bind_error(host, port)
            except OSError as unknown:
                error = unknown
            if error:
                yield (
                    f"{bind}: {host}:{port} can't be listened at ({error.strerror}): gunicorn "
                    "tries for five seconds; stop what listens there, or choose another"
                )

    def _listen_for_metrics(self) -> Iterator[str]:
        """What is wrong, and the remedy."""
        host, port = self.loaded.settings.metrics_host, self.loaded.settings.metrics_port
        try:
            self._metrics_listener.listen(host, port, replacing=_replaces_another(os.environ))
        except (OSError, UnicodeError) as error:
            yield (
                f"metricsHost {host} and metricsPort {port} can't be listened at ({error}): "
                "choose another port, or 0 for none"
            )


def _load(environ: Mapping[str, str]) -> tuple[Loaded | None, tuple[str, ...]]:
    """A configuration that can be used, or what is wrong with it."""
    try:
        loaded = load(environ)
    except ConfigError as error:
        return None, error.problems
    except Exception as error:  # gunicorn would end the service; the text may hold a secret
        return None, (
            f"it can't be loaded ({type(error).__name__}): {command()} check shows where",
        )
    problem = log_file.problem_with(loaded)
    return (None, (problem,)) if problem else (loaded, ())


def _replaces_another(environ: Mapping[str, str]) -> bool:
    """Whether another master has started this one at a SIGUSR2 and still lives.

    gunicorn's own way of telling itself, which its documentation leaves out.
    """
    return "GUNICORN_PID" in environ
