# SPDX-License-Identifier: Apache-2.0
"""How the command line is called here, for log lines that advise it. Standard library only."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

NAME = "wsgi-ws"


def command() -> str:
    """What an operator types: the installed command, with its path where the shell doesn't find it;
    in a checkout, which installs none, the package is run instead."""
    if shutil.which(NAME):
        return NAME
    script = Path(sys.executable).with_name(NAME)
    return shlex.quote(str(script)) if script.exists() else "python -m wsgi_ws"
