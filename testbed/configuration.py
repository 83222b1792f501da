# SPDX-License-Identifier: Apache-2.0
"""Loads configurations of a test's making."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsgi_ws.config.load import ConfigError, Loaded, load

SECRET = "an-example-secret-of-more-than-32-bytes"
MARK = "s3cr3t"  # as a part of a secret's value


def load_with(
    directory: Path, document: object = None, environ: dict[str, str] | None = None
) -> Loaded:
    """Load a `config.json` with this content, and the environment over it, with a valid secret."""
    if document is not None:
        (directory / "config.json").write_text(json.dumps(document))
    return load({"JWT_SECRET": SECRET} | (environ or {}), directory)


def error_of(directory: Path, document: object, environ: dict[str, str] | None = None) -> str:
    """What is said about a configuration that is refused."""
    with pytest.raises(ConfigError) as caught:
        load_with(directory, document, environ)
    return str(caught.value)
