# SPDX-License-Identifier: Apache-2.0
"""A real nginx in front of a server, with whatever an operator may write into its configuration."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import trustme

from testbed.ports import free_port
from testbed.proxies import FIRST, SECOND, SUPERSET, with_second_instance
from testbed.servers import DEADLINE, ROOT, eventually

UPGRADE = """
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header Host $host;
"""
_FRAME = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {upstream}
    server {{
        listen 127.0.0.1:{port} {tls};
        {certificate}
        {body}
    }}
}}
"""


class Nginx:
    """nginx on a free port, with or without TLS; `/ws` is what the test says."""

    def __init__(
        self,
        directory: Path,
        location: str = "",
        *,
        tls: bool = False,
        upstream: str = "",
        server: str = "",
    ) -> None:
        """
        :param location: the body of `location /ws`.
        :param server: that of `server`, in place of a location.
        :param upstream: what the location names, if it names any.
        """
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.ca_file = directory / "ca.pem"
        certificate = ""
        if tls:
            self._write_certificate(directory)
            certificate = (
                f"ssl_certificate {directory}/chain.pem; ssl_certificate_key {directory}/key.pem;"
            )
        configuration = directory / "nginx.conf"
        configuration.write_text(
            _FRAME.format(
                directory=directory,
                port=self.port,
                tls="ssl" if tls else "",
                certificate=certificate,
                body=server or f"location /ws {{ {location} }}",
                upstream=upstream,
            )
        )
        self.process = subprocess.Popen(
            [
                shutil.which("nginx") or "/usr/sbin/nginx",
                *("-c", str(configuration), "-p", str(directory)),
            ],
            stderr=subprocess.DEVNULL,
        )
        eventually((directory / "nginx.pid").exists, "nginx has started")

    def url(self, scheme: str = "ws") -> str:
        return f"{scheme}://localhost:{self.port}/ws"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)

    def _write_certificate(self, directory: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(str(directory / "key.pem"))
        for pem in issued.cert_chain_pems:
            pem.write_to_path(str(directory / "chain.pem"), append=True)


def documented(first: int, second: int) -> tuple[str, str]:
    """nginx's `upstream` and `location` of deploy/proxies for two instances, with these ports."""
    text = with_second_instance(_documented()).replace(SECOND, f"127.0.0.1:{second}")
    text = text.replace(FIRST, f"127.0.0.1:{first}")
    return _braces(text, "upstream superset_websocket"), _braces(text, "location /ws")


def documented_with_superset(server: int, superset: int) -> tuple[str, str]:
    """Likewise both `upstream` and the body of `server`, for one instance and Superset."""
    text = _documented().replace(FIRST, f"127.0.0.1:{server}")
    text = text.replace(SUPERSET, f"127.0.0.1:{superset}")
    upstreams = ("upstream superset", "upstream superset_websocket")
    (cookies,) = re.findall(r"^ *large_client_header_buffers.*$", text, re.M)
    locations = (_braces(text, name) for name in ("location /ws", "location /"))
    return "\n".join(_braces(text, name) for name in upstreams), "\n".join((cookies, *locations))


def _documented() -> str:
    return (ROOT / "deploy/proxies/nginx/superset.conf").read_text(encoding="utf-8")


def _braces(text: str, name: str) -> str:
    (found,) = re.findall(rf"^( *){name} {{(.*?)^\1}}", text, re.S | re.M)
    return f"{name} {{{found[1]}}}"
