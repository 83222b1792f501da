# SPDX-License-Identifier: Apache-2.0
"""gunicorn's own command, as a file.

At a SIGUSR2 gunicorn starts the file again that it was started from. `python -m gunicorn` gives it
one that Python can't start so, and the script `gunicorn` is not always beside the interpreter.
"""

import sys
from pathlib import Path

# Python puts a program's folder in front, where its files would hide top-level modules. A checkout
# is on no path otherwise.
_folder = Path(__file__).parent
sys.path[:] = [*(path for path in sys.path if path != str(_folder)), str(_folder.parents[2])]

from wsgi_ws.first_process import end_at_sigterm  # noqa: E402

end_at_sigterm()

from gunicorn.app.wsgiapp import WSGIApplication  # noqa: E402


class Application(WSGIApplication):  # type: ignore[misc]  # the package has no types
    """gunicorn, without the working directory among the places where Python looks for modules.

    Whoever may write there, as into the home of a Superset, could run code beside the secret.
    """

    def chdir(self) -> None:
        """As gunicorn does, which then puts the directory in front of all others."""
        path = [*sys.path]
        super().chdir()
        sys.path[:] = path


Application("%(prog)s [OPTIONS]", prog="gunicorn").run()
