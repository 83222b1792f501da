# SPDX-License-Identifier: Apache-2.0
"""A real nginx in front of a server, with whatever an operator may write into its configuration."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import trustme

from testbed.servers import DEADLINE, ROOT, eventually, free_port

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


def documented_server(port: int) -> str:
    """The body of nginx's `server` of README, with this port for the server's."""
    return _nginx_block("README.md", "## In production").replace(
        "http://127.0.0.1:8080", f"http://127.0.0.1:{port}"
    )


def documented(first: int, second: int) -> tuple[str, str]:
    """nginx's `upstream` and `location` of the documentation, with these ports for its names."""
    whole = _nginx_block("README.md", "## In production")
    for_two = _nginx_block("docs/operations.md", "## Two instances")
    upstream, location = (_braces(for_two, name) for name in ("upstream", "location"))
    (rest,) = re.findall(r"proxy_pass http://127.*?;\n(.*)", _braces(whole, "location /ws"), re.S)
    location = location.replace("# and the rest of README's\n}", rest)
    upstream = upstream.replace("a:8080", f"127.0.0.1:{first}")
    return upstream.replace("b:8080", f"127.0.0.1:{second}"), location


def _nginx_block(file: str, heading: str) -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    _, found, section = text.partition(f"{heading}\n")
    assert found, f"{file} has {heading}"
    return section.split("```nginx\n")[1].split("```")[0]


def _braces(block: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}.*?^}}", block, re.S | re.M)
    return str(found)
