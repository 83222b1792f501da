# SPDX-License-Identifier: Apache-2.0
"""Programs of the machine that a test can't do without."""

from __future__ import annotations

import shutil

from testbed.absent import absent


def required(program: str, package: str) -> str:
    """The path of a program; a test that lacks it ends.

    :param package: Debian's name of what has it.
    """
    # Debian puts servers where a user's PATH does not lead.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    return found or absent(f"{program} is missing (on Debian: apt-get install {package})")
