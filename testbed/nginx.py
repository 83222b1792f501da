# SPDX-License-Identifier: Apache-2.0
"""A real nginx in front of a server, with whatever an operator may write into its configuration."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import trustme

from testbed.servers import DEADLINE, eventually, free_port

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
    server {{
        listen 127.0.0.1:{port} {tls};
        {certificate}
        location /ws {{ {location} }}
    }}
}}
"""


class Nginx:
    """nginx on a free port, with or without TLS; `/ws` is what the test says."""

    def __init__(self, directory: Path, location: str, *, tls: bool = False) -> None:
        """
        :param location: the body of `location /ws`.
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
                location=location,
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
