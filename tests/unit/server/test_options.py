# SPDX-License-Identifier: Apache-2.0
"""gunicorn's options: who has given them, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from gunicorn.config import KNOWN_SETTINGS, Config

from wsgi_ws.server.entry.launch import VARIABLE
from wsgi_ws.server.options import VARIABLES_WITHOUT_EFFECT, WITHOUT_EFFECT, Options


@pytest.fixture
def cfg(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr("sys.argv", ["gunicorn"])
    for variable in (VARIABLE, *VARIABLES_WITHOUT_EFFECT):
        monkeypatch.delenv(variable, raising=False)
    return Config()


def test_a_default_is_nobodys(cfg: Config) -> None:
    assert Options(cfg).given("backlog") is None


def test_what_gunicorn_conf_py_says_is_nobodys(cfg: Config) -> None:
    cfg.set("backlog", 4711)
    assert Options(cfg).given("backlog", 4711) is None


@pytest.mark.parametrize(
    ("argv", "environ", "source"),
    [
        (["--backlog", "1"], "", "the command line"),
        ([], "--backlog=1", VARIABLE),
        (["--backlog", "1"], "--backlog=2", "the command line"),
    ],
)
def test_the_source_that_wins_is_named(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], environ: str, source: str
) -> None:
    monkeypatch.setattr("sys.argv", ["gunicorn", *argv, "wsgi:app"])
    monkeypatch.setenv(VARIABLE, environ)
    cfg = Config()
    assert str(Options(cfg).given("backlog", 1)) == f"--backlog (from {source})"


def test_a_configuration_file_of_somebody_s_own_is_named(cfg: Config) -> None:
    cfg.set("backlog", 1)
    assert str(Options(cfg).given("backlog")) == "backlog (from gunicorn's configuration file)"


def test_an_option_that_this_gunicorn_does_not_have_is_nobodys(cfg: Config) -> None:
    assert Options(cfg).given("from_the_future") is None


def test_a_configuration_of_defaults_is_neither_refused_nor_warned_of(cfg: Config) -> None:
    cfg.set("worker_class", "wsgi_ws.server.worker.Worker")
    options = Options(cfg)
    assert [*options.refused(), *options.without_effect()] == []


@pytest.mark.parametrize("wanted", ["/nowhere", "/is/not/there/either"])
def test_a_directory_that_can_not_be_used_is_no_remedy(
    cfg: Config, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr("wsgi_ws.server.worker_tmp.SHARED_MEMORY", "/nowhere")
    cfg.set("worker_class", "wsgi_ws.server.worker.Worker")
    cfg.set("worker_tmp_dir", wanted)
    (line,) = Options(cfg).refused()
    assert f"can't make a file in {wanted}" in line
    assert line.endswith("name a directory that it may write to, --worker-tmp-dir")


def test_shared_memory_that_can_be_used_is_the_remedy(
    cfg: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("wsgi_ws.server.worker_tmp.SHARED_MEMORY", str(tmp_path))
    cfg.set("worker_class", "wsgi_ws.server.worker.Worker")
    cfg.set("worker_tmp_dir", "/nowhere")
    (line,) = Options(cfg).refused()
    assert line.endswith(f"--worker-tmp-dir {tmp_path}")


def test_hooks_that_are_not_called_are_warned_of(cfg: Config) -> None:
    cfg.set("post_request", lambda worker, req, environ, resp: None)
    (line,) = Options(cfg).without_effect()
    assert line.startswith("post_request (from gunicorn's configuration file) has no effect")


def test_an_error_log_works_only_with_captured_output(cfg: Config) -> None:
    cfg.set("errorlog", "/tmp/error.log")
    (line,) = Options(cfg).without_effect()
    assert "errorlog" in line
    cfg.set("capture_output", True)
    assert not [*Options(cfg).without_effect()]


def test_every_name_is_gunicorn_s() -> None:
    newer = {
        *("asgi_disconnect_grace_period", "asgi_lifespan", "asgi_loop", "forwarder_headers"),
        *("http2_cleartext", "http2_initial_window_size", "http2_max_concurrent_streams"),
        *("http2_max_frame_size", "http2_max_header_list_size", "http_parser", "http_protocols"),
        *("permit_obsolete_folding", "root_path", "uwsgi_allow_ips", "websocket_max_message_size"),
    }  # than gunicorn 22
    assert set(WITHOUT_EFFECT) - newer <= {setting.name for setting in KNOWN_SETTINGS}
