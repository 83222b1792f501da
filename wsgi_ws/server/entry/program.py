# SPDX-License-Identifier: Apache-2.0
"""gunicorn's own command, as a file.

At a SIGUSR2 gunicorn starts the file again that it was started from. `python -m gunicorn` gives it
one that Python can't start so, and the script `gunicorn` is not always beside the interpreter.
"""

import sys
from pathlib import Path

from gunicorn.app.wsgiapp import run

# Python puts a program's folder in front, where its files would hide top-level modules.
_folder = str(Path(__file__).parent)
sys.path[:] = [path for path in sys.path if path != _folder]

run(prog="gunicorn")
