# SPDX-License-Identifier: Apache-2.0
"""A wheel has all that the package needs, also what is no Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from testbed.servers import ROOT

BUILD = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"


def test_a_wheel_has_each_file_of_the_package(tmp_path: Path) -> None:
    pytest.importorskip("packaging", minversion="24.2", reason="setuptools needs a newer packaging")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, source)
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "wsgi_ws", source / "wsgi_ws", ignore=hidden)
    subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)], cwd=source, check=True, capture_output=True
    )
    files = (file for file in (source / "wsgi_ws").rglob("*") if file.is_file())
    wanted = {str(file.relative_to(source)) for file in files}
    assert "wsgi_ws/demo/page/index.html" in wanted
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        assert wanted - {*wheel.namelist()} == set()
