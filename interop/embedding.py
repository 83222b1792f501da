# SPDX-License-Identifier: Apache-2.0
"""A page of another application that shows a dashboard to its reader in an iframe.

It does what Superset's SDK for embedding does: hand the frame a message port, then the guest's
token through it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PAGE = """<!doctype html>
<title>An application with a dashboard</title>
<h1>An application with a dashboard</h1>
<iframe src="%(origin)s/embedded/%(dashboard)s" style="width: 100%%; height: 740px"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const ports = new MessageChannel();
  const transfer = {type: "__embedded_comms__", handshake: "port transfer"};
  frame.contentWindow.postMessage(transfer, "%(origin)s", [ports.port2]);
  ports.port1.postMessage(
    {switchboardAction: "emit", method: "guestToken", args: {guestToken: %(token)s}});
});
</script>
"""


@contextmanager
def embedding_page(origin: str, dashboard: str, guest_token: str) -> Iterator[str]:
    """Serve the page on a port of its own; yields its URL.

    :param origin: Superset's.
    :param dashboard: the UUID of its embedding.
    """
    page = _PAGE % {"origin": origin, "dashboard": dashboard, "token": json.dumps(guest_token)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
