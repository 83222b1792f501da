# SPDX-License-Identifier: Apache-2.0
"""Tells hatchling, which builds wheel and sdist, what requirements.txt says: it is the one place of
what the service needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Requirements(MetadataHookInterface):
    """The dynamic field `dependencies`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling."""
        lines = (Path(self.root) / "requirements.txt").read_text(encoding="utf-8").splitlines()
        metadata["dependencies"] = [line for line in lines if line and not line.startswith("#")]
