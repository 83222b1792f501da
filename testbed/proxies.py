# SPDX-License-Identifier: Apache-2.0
"""The proxies of deploy/proxies, really started, each with the very file that operators copy.

Only addresses, ports and the paths of logs and certificates are replaced; `Proxy` fails where the
file has not exactly what it replaces. What Debian's own main file would say stands around it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from testbed.ports import free_port
from testbed.programs import required
from testbed.servers import DEADLINE, ROOT, eventually

HOST = "bi.example.com"  # the files' public host name
SUPERSET, FIRST, SECOND = ("127.0.0.1:8088", "127.0.0.1:8080", "127.0.0.1:8081")  # and addresses


class HostCertificate:
    """Of the public host name, by a CA of its own."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(HOST)
        self.ca_file, self.chain, self.key, self.both = (
            directory / name for name in ("ca.pem", "chain.pem", "key.pem", "both.pem")
        )
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued.private_key_pem.write_to_path(str(self.key))
        self.chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.both.write_bytes(self.chain.read_bytes() + self.key.read_bytes())


@dataclass(frozen=True)
class Kind:
    """A program, and how it is started with its file.

    :ivar file: below deploy/proxies.
    :ivar command: its arguments, for the main file.
    :ivar main: the main file's content, for the directory, the port and the path of `file`.
    :ivar replaced: texts of `file`, each to be replaced once, for the port.
    :ivar log: the access log as `file` names it; None: the program's output.
    """

    program: str
    package: str
    file: str
    command: Callable[[Path], Sequence[str]]
    main: Callable[[Path, int, Path], str]
    replaced: Callable[[int], Mapping[str, str]]
    log: str | None = None


_PEM = f"/etc/ssl/certs/{HOST}.pem"
_KEY = f"/etc/ssl/private/{HOST}.key"


def _nginx(directory: Path, port: int, file: Path) -> str:
    temporary = "\n".join(
        f"    {name}_path {directory}/{name};"
        for name in ("client_body_temp", "proxy_temp", "fastcgi_temp", "uwsgi_temp", "scgi_temp")
    )
    return (
        f"daemon off;\npid {directory}/pid;\nerror_log {directory}/error.log;\nevents {{}}\n"
        f"http {{\n{temporary}\n    include {file};\n}}\n"
    )


def _apache(directory: Path, port: int, file: Path) -> str:
    # Debian's own, and those that the file's head wants to be enabled.
    named = re.search(r"a2enmod ((?:\w+ )*\w+)$", file.read_text(), re.M)
    assert named, "the file's head has a2enmod"
    modules = ("mpm_event", "authz_core", "reqtimeout", "setenvif", *named[1].split())
    return "\n".join(
        (
            f'ServerRoot "{directory}"\nPidFile {directory}/pid\nErrorLog {directory}/error.log',
            f"Mutex file:{directory}\nServerName localhost\nListen 127.0.0.1:{port}",
            *dict.fromkeys(line for name in modules for line in _apache_module(name)),
            "TypesConfig /dev/null",  # of mod_mime, which ssl depends on
            *(["User www-data\nGroup www-data"] if os.geteuid() == 0 else []),
            "RequestReadTimeout header=20-40,minrate=500\nRequestReadTimeout body=10,minrate=500",
            r'LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"" combined',
            f"Include {file}\n",
        )
    )


def _apache_module(name: str) -> list[str]:
    """As a2enmod does it: with what the module depends on."""
    text = Path(f"/etc/apache2/mods-available/{name}.load").read_text()
    needed = " ".join(re.findall(r"^# Depends: (.*)$", text, re.M)).split()
    loaded = re.findall(r"^LoadModule .*$", text, re.M)
    return [line for each in needed for line in _apache_module(each)] + loaded


def _caddy(directory: Path, port: int, file: Path) -> str:
    options = ("admin off", "auto_https disable_redirects", f"https_port {port}")
    return "\n".join(("{", *options, "default_bind 127.0.0.1", "}", f"import {file}\n"))


# Lines of haproxy's file with which only root can start it.
_ONLY_ROOTS = ("    chroot /var/lib/haproxy\n", "    user haproxy\n", "    group haproxy\n")

KINDS: Mapping[str, Kind] = {
    "nginx": Kind(
        *("nginx", "nginx", "nginx/superset.conf"),
        lambda main: ("-c", str(main), "-p", str(main.parent)),
        _nginx,
        lambda port: {"listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;"},
        "/var/log/nginx/superset.log",
    ),
    "apache": Kind(
        *("apache2", "apache2", "apache/superset.conf"),
        lambda main: ("-f", str(main), "-D", "FOREGROUND"),
        _apache,
        lambda port: {"<VirtualHost *:443>": f"<VirtualHost 127.0.0.1:{port}>"},
        "/var/log/apache2/superset.log",
    ),
    "haproxy": Kind(
        *("haproxy", "haproxy", "haproxy/haproxy.cfg"),
        lambda main: ("-db", "-f", str(main)),
        lambda directory, port, file: file.read_text(),
        lambda port: (
            {
                "bind :443 ": f"bind 127.0.0.1:{port} ",
                "log /dev/log local0": "log stdout format raw local0",
            }
            | ({} if os.geteuid() == 0 else dict.fromkeys(_ONLY_ROOTS, ""))
        ),
    ),
    "caddy": Kind(
        *("caddy", "caddy", "caddy/Caddyfile"),
        lambda main: ("run", "--config", str(main), "--adapter", "caddyfile"),
        _caddy,
        lambda port: {},
        "/var/log/caddy/superset.log",
    ),
}


class Proxy:
    """A proxy on a free port, with TLS, in front of Superset and one or two instances."""

    def __init__(
        self,
        name: str,
        directory: Path,
        certificate: HostCertificate,
        superset: int,
        instances: Sequence[int],
    ) -> None:
        """
        :param name: one of KINDS.
        :param superset: its port.
        :param instances: the ports of one or two; the second takes the place that is kept for it.
        """
        kind = KINDS[name]
        executable = required(kind.program, kind.package)
        directory.mkdir()
        self.port = free_port()
        output = directory / "output.log"
        self._log = directory / "access.log" if kind.log else output
        addresses = dict(zip((FIRST, SECOND), instances, strict=False)) | {SUPERSET: superset}
        text = (ROOT / "deploy/proxies" / kind.file).read_text(encoding="utf-8")
        if len(instances) > 1:
            text = with_second_instance(text)
        text = re.sub(
            "|".join(map(re.escape, addresses)), lambda m: f"127.0.0.1:{addresses[m[0]]}", text
        )
        for old, new in kind.replaced(self.port).items():
            assert text.count(old) == 1, f"{kind.file} has {old} once"
            text = text.replace(old, new)
        paths = {_PEM: certificate.chain, _KEY: certificate.key, kind.log: self._log}
        paths[f"/etc/haproxy/certs/{HOST}.pem"] = certificate.both
        for old_path, new_path in paths.items():
            text = text.replace(old_path, str(new_path)) if old_path else text
        file = directory / "copied"
        file.write_text(text)
        main = directory / "main"
        main.write_text(kind.main(directory, self.port, file))
        own_places = {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
        with output.open("wb") as out:
            self.process = subprocess.Popen(
                [executable, *kind.command(main)],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | own_places,
            )
        try:
            eventually(lambda: self._listens(output), f"{name} listens")
        except BaseException:
            self.stop()
            raise

    def access_log(self) -> str:
        """All of it so far; some make the file with the first line."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _listens(self, output: Path) -> bool:
        assert self.process.poll() is None, output.read_text(errors="replace")
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True


def with_second_instance(text: str) -> str:
    """A file with the lines of the second instance enabled: without their #."""
    changed, count = re.subn(
        rf"^(\s*)# (?=.*{re.escape(SECOND)})(.*?)(  #.*)?$", r"\1\2", text, flags=re.M
    )
    assert count, f"there is a line for {SECOND}"
    return changed
