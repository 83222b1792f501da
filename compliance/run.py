# SPDX-License-Identifier: Apache-2.0
"""`make compliance`: the Autobahn test suite against the echo server beside this file.

Sets up what the suite needs (it runs on Python 2.7 only) once, runs it, prints a table by group and
every case that isn't plainly OK, and fails on a case that failed or did not close cleanly. Further
arguments choose cases: `python -m compliance.run 1.* 6.4.*`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "compliance" / "requirements.txt"
ENVIRONMENT = ROOT / ".venv-compliance"
OUTPUT = ROOT / "build" / "compliance"
REPORT = OUTPUT / "report"
VIRTUALENV = "virtualenv==20.15.1"  # the last one that runs on Python 2.7

AGENT = "wsgi_ws"
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
GROUPS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8",
    "7": "Close handling",
    "9": "Limits, performance",
    "10": "Auto-fragmentation",
}
TOLERATED = {"OK", "NON-STRICT", "INFORMATIONAL"}
COLUMNS = ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED")

Case = Mapping[str, object]


def main() -> int:
    """Returns the exit code."""
    wstest = install()
    shutil.rmtree(REPORT, ignore_errors=True)
    with echo_server() as url:
        run_suite(wstest, url, sys.argv[1:] or CASES)
    index = json.loads((REPORT / "index.json").read_text())
    return summarize(index.get(AGENT, {}))


def install() -> Path:
    """The suite's program, in an environment of its own."""
    wstest = ENVIRONMENT / "bin" / "wstest"
    stamp = ENVIRONMENT / ".installed"
    if stamp.exists() and stamp.read_text() == REQUIREMENTS.read_text():
        return wstest
    python = find_python27()
    print(f"Installing the Autobahn test suite into {ENVIRONMENT.name} …", flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    tool = OUTPUT / "virtualenv"
    pip = ["pip", "--disable-pip-version-check", "--quiet", "install"]
    with (OUTPUT / "install.log").open("wb") as log:

        def run(*command: str, **environ: str) -> None:
            clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | environ
            if subprocess.run(command, env=clean, stdout=log, stderr=log, check=False).returncode:
                fail(f"'{' '.join(command)}' failed; its output is in {log.name}")

        run(python, "-m", *pip, "--upgrade", "--target", str(tool), VIRTUALENV)
        run(python, "-m", "virtualenv", str(ENVIRONMENT), PYTHONPATH=str(tool))
        run(str(ENVIRONMENT / "bin" / "python"), "-m", *pip, "-r", str(REQUIREMENTS))
    stamp.write_text(REQUIREMENTS.read_text())
    return wstest


def find_python27() -> str:
    """$PYTHON27, or one on PATH, or one of pyenv's."""
    candidates = [os.environ.get("PYTHON27", ""), "python2.7"]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += map(str, sorted(pyenv.glob("versions/2.7*/bin/python"), reverse=True))
    check = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"
    for candidate in filter(None, candidates):
        try:
            # Executed, not just looked up: pyenv's shims exist without a version behind them.
            if not subprocess.run(
                [candidate, "-c", check], capture_output=True, check=False
            ).returncode:
                return candidate
        except OSError:
            continue
    fail(
        "the Autobahn test suite needs Python 2.7 with pip, and there is none. Install one with "
        "'pyenv install 2.7.18', or name yours: PYTHON27=/path/to/python2.7 make compliance"
    )


@contextmanager
def echo_server() -> Iterator[str]:
    """Run the echo server on a free port; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compliance.echo_server"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            fail("the echo server did not start")
        yield url
        if process.poll() is not None:
            fail(f"the echo server ended with exit code {process.returncode}")
    finally:
        process.terminate()
        process.communicate()


def run_suite(wstest: Path, url: str, cases: list[str]) -> None:
    """Let the suite's fuzzing client loose; it reports to `REPORT`."""
    specification = {
        "outdir": str(REPORT),
        "servers": [{"agent": AGENT, "url": url}],
        "cases": cases,
        "exclude-cases": [],
    }
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / "fuzzingclient.json"
    path.write_text(json.dumps(specification, indent=2))
    # pyOpenSSL of that time warns about Python 2; nothing here can change that.
    python = str(wstest.with_name("python"))
    command = [python, "-W", "ignore", str(wstest), "-m", "fuzzingclient", "-s", str(path)]
    with (OUTPUT / "fuzzingclient.log").open("wb") as log:
        done = subprocess.run(command, cwd=OUTPUT, stdout=log, stderr=log, check=False)
    if done.returncode or not (REPORT / "index.json").exists():
        fail(f"the suite did not finish; its output is in {OUTPUT / 'fuzzingclient.log'}")


def summarize(results: Mapping[str, Case]) -> int:
    """Print the table and what isn't plainly OK; returns the exit code."""
    counts: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
    remarks = []
    for number, case in sorted(results.items(), key=lambda item: _key(item[0])):
        verdict = judge(case)
        counts[number.split(".")[0]][verdict] += 1
        if verdict != "OK":
            remarks.append(
                f"{number:8} {verdict:13} {case['behavior']}, close: {case['behaviorClose']}"
            )
    print(f"{'Group':24}{'Cases':>7}" + "".join(f"{column:>15}" for column in COLUMNS))
    total: Counter[str] = Counter()
    for group, name in GROUPS.items():
        if counts[group]:
            print(_row(f"{group:>2} {name}", counts[group]))
            total += counts[group]
    print(_row("   All", total))
    print("", *remarks, f"Details: {REPORT / 'index.html'}", sep="\n")
    if not results:
        fail("no case was run")
    return 1 if total["FAILED"] else 0


def judge(case: Case) -> str:
    """One of `COLUMNS`. A case has failed too when its connection did not end as it must."""
    behavior, closing = str(case["behavior"]), str(case["behaviorClose"])
    if behavior not in TOLERATED or closing not in {"OK", "INFORMATIONAL"}:
        return "FAILED"
    return behavior


def fail(message: str) -> NoReturn:
    """End with an error."""
    sys.exit(f"compliance: {message}")


def _row(name: str, counts: Counter[str]) -> str:
    return f"{name:24}{counts.total():>7}" + "".join(f"{counts[c]:>15}" for c in COLUMNS)


def _key(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]


if __name__ == "__main__":
    sys.exit(main())
