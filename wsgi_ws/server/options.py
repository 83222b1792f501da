# SPDX-License-Identifier: Apache-2.0
"""gunicorn's options: who has given them, which can't work with this service, which do nothing.

Asks gunicorn's configuration object, and imports no part of gunicorn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wsgi_ws.config.keys import keys
from wsgi_ws.config.load import CONFIG_PATH_VARIABLE
from wsgi_ws.server import worker_tmp
from wsgi_ws.server.entry.launch import VARIABLE
from wsgi_ws.server.worker import Worker

_READS_ITSELF = "this service reads requests itself, up to maxHeaderBytes"
_PROXIES = "trustedProxies says whose headers count"
_TLS = "TLS ends at the proxy in front"
_ONE_PROTOCOL = "this service speaks HTTP/1.1 and WebSockets only, and is no ASGI server"
_LOGGING = "logLevel, logFormat, logToFile and logFilename set up all logging"
_ACCESS = "accessLog writes a line for each handshake and each end of a socket"
# Why what gunicorn's own workers do with an option isn't done here.
WITHOUT_EFFECT: Mapping[str, str] = {
    "keepalive": "a connection carries one plain request or one WebSocket",
    "threads": "a worker serves all its sockets in one thread",
    "max_requests_jitter": "workers are not replaced after a number of requests",
    "sendfile": "nothing is sent from files",
    "pre_request": "it is not called",
    "post_request": "it is not called",
    "loglevel": "logLevel (LOG_LEVEL) decides",
    "websocket_max_message_size": "maxMessageBytes is the limit",
    **dict.fromkeys(
        (
            *("limit_request_line", "limit_request_fields", "limit_request_field_size"),
            *("permit_obsolete_folding", "strip_header_spaces", "casefold_http_method"),
            *("permit_unconventional_http_method", "permit_unconventional_http_version"),
            "http_parser",
        ),
        _READS_ITSELF,
    ),
    **dict.fromkeys(
        (
            *("forwarded_allow_ips", "secure_scheme_headers", "forwarder_headers", "header_map"),
            *("proxy_allow_ips", "uwsgi_allow_ips"),
        ),
        _PROXIES,
    ),
    **dict.fromkeys(
        (
            *("ca_certs", "cert_reqs", "ssl_version", "ciphers", "ssl_context"),
            *("do_handshake_on_connect", "suppress_ragged_eofs"),
        ),
        _TLS,
    ),
    **dict.fromkeys(
        (
            *("http_protocols", "http2_cleartext", "http2_max_concurrent_streams"),
            *("http2_initial_window_size", "http2_max_frame_size", "http2_max_header_list_size"),
            *("asgi_loop", "asgi_lifespan", "asgi_disconnect_grace_period", "root_path"),
        ),
        _ONE_PROTOCOL,
    ),
    **dict.fromkeys(
        ("logconfig", "logconfig_json", "syslog", "syslog_addr", "syslog_prefix"), _LOGGING
    ),
    "syslog_facility": _LOGGING,
    **dict.fromkeys(
        ("accesslog", "access_log_format", "disable_redirect_access_to_syslog"), _ACCESS
    ),
}
# The same of the variables that gunicorn takes defaults from.
VARIABLES_WITHOUT_EFFECT: Mapping[str, str] = {
    "WEB_CONCURRENCY": "--workers says how many there are, by default 1",
    "FORWARDED_ALLOW_IPS": _PROXIES,
}


@dataclass(frozen=True, slots=True)
class Option:
    """One that has a value of somebody's choice.

    :ivar flag: as it is written at its source: `--bind`, or `bind` in a file.
    """

    flag: str
    source: str
    value: Any

    def __str__(self) -> str:
        """For the beginning of a sentence."""
        return f"{self.flag} (from {self.source})"


class Options:
    """The options of one gunicorn, at its start."""

    def __init__(self, cfg: Any) -> None:
        """
        :param cfg: gunicorn's configuration object.
        """
        self._cfg = cfg
        # gunicorn forgets where a value comes from; its parser tells anew.
        parser = cfg.parser()
        line, _ = parser.parse_known_args()
        variable, _ = parser.parse_known_args(cfg.get_cmd_args_from_env())
        self._given = (("the command line", line), (VARIABLE, variable))

    def given(self, name: str, own: Any = None) -> Option | None:
        """An option that overrules what gunicorn.conf.py says; None when nothing does.

        :param name: a setting's, which this version of gunicorn may not have.
        :param own: the value of gunicorn.conf.py; None if it says nothing: gunicorn's default.
        """
        setting = self._cfg.settings.get(name)
        if setting is None:
            return None
        value = setting.get()
        for source, found in self._given:
            if getattr(found, name, None) is not None:
                flag = next(flag for flag in setting.cli if flag.startswith("--"))
                return Option(flag, source, value)
        usual = type(setting)().get() if own is None else own
        # A configuration file of somebody's own, which executes or imports gunicorn.conf.py.
        return Option(name, "gunicorn's configuration file", value) if value != usual else None

    def refused(self) -> Iterator[str]:
        """What can't work with this service, and the remedy."""
        cfg = self._cfg
        settings = cfg.settings
        late = self._late_variables()
        for name, is_wrong, problem in (
            (
                "worker_class",
                not issubclass(cfg.worker_class, Worker),
                "names a worker class that can't serve WebSockets: leave it out",
            ),
            (
                "certfile" if cfg.certfile else "keyfile",
                cfg.is_ssl,
                "is not supported: let the proxy in front do TLS",
            ),
            (
                "proxy_protocol",
                cfg.proxy_protocol not in (False, "off"),
                "is not supported: let the proxy send X-Forwarded-For, and name it in "
                "trustedProxies",
            ),
            (
                "protocol",
                "protocol" in settings and cfg.protocol != "http",
                "is not supported: let the proxy speak HTTP/1.1 (in nginx proxy_pass)",
            ),
            (
                "preload_app",
                cfg.preload_app,
                "would patch gunicorn's own process for gevent: leave it out",
            ),
            (
                "max_requests",
                cfg.max_requests,
                "has no meaning for connections that stay: leave it out",
            ),
            (
                "workers",
                cfg.workers == 0,
                "is 0, which would serve nobody: leave it out, or give it 1 or more",
            ),
            (
                "timeout",
                0 < cfg.timeout < 3,
                f"is {cfg.timeout}, shorter than a worker's signs of life: 3 or more, or 0",
            ),
            (
                "bind",
                any(isinstance(at, tuple) and not 0 <= at[1] <= 65535 for at in cfg.address),
                f"is {', '.join(cfg.bind)}, with a port that is not between 0 and 65535",
            ),
            (
                "raw_env",
                late,
                f"sets {', '.join(late)} only when the configuration has been read: set it in the "
                "environment itself",
            ),
        ):
            if is_wrong:
                yield f"{self.given(name) or name} {problem}"
        no_file = worker_tmp.problem_with(cfg.worker_tmp_dir)
        if no_file:
            yield f"{no_file}: {worker_tmp.remedy()}"

    def without_effect(self) -> Iterator[str]:
        """Options that gunicorn takes and that do nothing here, and what does instead."""
        for name, reason in WITHOUT_EFFECT.items():
            option = self.given(name)
            if option:
                yield f"{option} has no effect: {reason}"
        for variable, reason in VARIABLES_WITHOUT_EFFECT.items():
            if self._cfg.env_orig.get(variable):
                yield f"{variable} (from the environment) has no effect: {reason}"
        option = self.given("errorlog")
        if option and option.value != "-" and not self._cfg.capture_output:
            yield f"{option} has no effect without --capture-output: {_LOGGING}"

    def _late_variables(self) -> list[str]:
        """Those of the configuration that gunicorn itself sets to something else."""
        ours = {key.env for key in keys()} | {CONFIG_PATH_VARIABLE}
        before = self._cfg.env_orig
        return [k for k, v in self._cfg.env.items() if k in ours and v != before.get(k)]
