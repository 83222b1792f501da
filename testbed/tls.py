# SPDX-License-Identifier: Apache-2.0
"""A redis-server that speaks TLS, with certificates made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trustme

from testbed.ports import free_port
from testbed.servers import RedisServer


class Certificates:
    """A CA, a certificate of Redis for the name localhost, one of a client; and a foreign CA."""

    def __init__(self, directory: Path) -> None:
        ca = trustme.CA()
        redis_s = ca.issue_cert("localhost")
        client_s = ca.issue_cert("client.example.org")
        self.ca = self._put(directory / "ca.pem", ca.cert_pem)
        self.foreign_ca = self._put(directory / "foreign.pem", trustme.CA().cert_pem)
        self.redis_cert = self._put(directory / "redis.pem", *redis_s.cert_chain_pems)
        self.redis_key = self._put(directory / "redis.key", redis_s.private_key_pem)
        self.client_cert = self._put(directory / "client.pem", *client_s.cert_chain_pems)
        self.client_key = self._put(directory / "client.key", client_s.private_key_pem)

    def of_redis(self, port: int) -> tuple[str, ...]:
        """redis-server's arguments for a port with TLS."""
        return (
            *("--tls-port", str(port), "--tls-ca-cert-file", self.ca),
            *("--tls-cert-file", self.redis_cert, "--tls-key-file", self.redis_key),
        )

    @staticmethod
    def _put(path: Path, *blobs: trustme.Blob) -> str:
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)


class TlsRedis:
    """A redis-server that wants a client certificate, as an operator would set it up."""

    def __init__(self, start_redis: Callable[..., RedisServer], certificates: Certificates) -> None:
        self.port = free_port()
        arguments = (*certificates.of_redis(self.port), "--tls-auth-clients", "yes")
        self.server = start_redis(*arguments)
        self.admin = self.server.client  # without TLS
        self.environ = {
            "REDIS_HOST": "localhost",
            "REDIS_PORT": str(self.port),
            "REDIS_SSL": "true",
            "REDIS_SSL_CA_CERTS": certificates.ca,
            "REDIS_SSL_CERTFILE": certificates.client_cert,
            "REDIS_SSL_KEYFILE": certificates.client_key,
        }
