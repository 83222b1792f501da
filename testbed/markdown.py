# SPDX-License-Identifier: Apache-2.0
"""The project's documents: their links, headings, blocks of code, and the commands in these."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from testbed.servers import ROOT

SHELLS = ("sh", "bash")
# What may stand before a program that it runs; of the last three only with these words.
_RUNNERS = ("sudo", "exec", "env", "timeout", "docker", "podman", "kubectl")
_RUNNING = {"docker", "podman", "kubectl"}, {"exec", "run"}
_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", re.M | re.S)
_INDENTED = re.compile(r"(?:^|(?<=\n\n))(?: {4}\S.*\n(?:\n(?= {4}))?)+", re.M)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


class Block(NamedTuple):
    """A block of code.

    :ivar language: the first word behind the fence; empty for an indented block.
    :ivar runs: whether the second word is `run`: it must work as it stands.
    """

    language: str
    runs: bool
    text: str


class Command(NamedTuple):
    """What the shell would run of this project's programs.

    :ivar assigned: the variables that stand before it.
    :ivar program: `wsgi-ws` (also as a module) or `gunicorn`.
    """

    assigned: tuple[str, ...]
    program: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """All but the blocks with fences."""
        return _FENCE.sub("\n", self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        found = []
        for indent, _, words, text in _FENCE.findall(self.text):
            language, _, rest = words.strip().partition(" ")
            found.append(Block(language, rest == "run", re.sub(f"^{indent}", "", text, flags=re.M)))
        indented = [re.sub("^ {4}", "", text, flags=re.M) for text in _INDENTED.findall(self.prose)]
        return found + [Block("", False, text) for text in indented]

    @cached_property
    def spans(self) -> list[str]:
        """The pieces of code in sentences."""
        return [span.replace("\n", " ") for span in re.findall(r"(?<!`)`([^`]+)`", self.prose)]

    @cached_property
    def links(self) -> list[str]:
        """Where links and pictures lead."""
        without_code = re.sub(r"`[^`]*`", "", self.prose)
        inline = re.findall(r"\]\(\s*<?([^)\s>]+)", without_code)
        return inline + re.findall(r"^ *\[[^\]]+\]: *(\S+)", without_code, re.M)

    @cached_property
    def anchors(self) -> set[str]:
        """The headings as GitHub makes anchors of them."""
        seen: Counter[str] = Counter()
        found: set[str] = set()
        for heading in re.findall(r"^#{1,6} +(.+?) *#*$", self.prose, re.M):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return found

    @cached_property
    def commands(self) -> list[Command]:
        """In blocks for the shell, indented blocks and spans."""
        scripts = [b.text for b in self.blocks if b.language in ("", *SHELLS)]
        return [command for text in scripts + self.spans for command in commands_of(text)]


def documents() -> list[Document]:
    """Every Markdown file of the project."""
    return [Document(path) for path in files() if path.suffix == ".md"]


def files(folder: Path = ROOT) -> list[Path]:
    """The project's files, without what is made of them or belongs to a tool."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        own = (n for n in folders if n[0] != "." and n not in ("build", "dist", "__pycache__"))
        folders[:] = sorted(own)
        found += [Path(parent, name) for name in sorted(names)]
    return found


def commands_of(text: str) -> Iterator[Command]:
    """This project's programs and gunicorn in a script, in the order of its lines."""
    for line in text.replace("\\\n", " ").splitlines():
        for nested in re.findall(r"\$\(([^()]*)\)", line):
            yield from commands_of(nested)
        for words in _simple_commands(re.sub(r"\$\([^()]*\)", "…", line)):
            command = _ours(words)
            if command:
                yield command


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if set(word) <= set(";|&"):
                yield words
                words = []
            else:
                words.append(word)
    except ValueError:  # prose, or a quote that a later line closes
        return
    yield words


def _ours(words: list[str]) -> Command | None:
    assigned = tuple(word.partition("=")[0] for word in words if _ASSIGNMENT.match(word))
    rest = [word for word in words if not _ASSIGNMENT.match(word)]
    programs = ("wsgi-ws", "gunicorn")
    places = [n for n, word in enumerate(rest) if word.rpartition("/")[2] in programs]
    places += [n + 2 for n in range(len(rest)) if rest[n + 1 : n + 3] == ["-m", "wsgi_ws"]]
    if not places:
        return None
    first, last = rest[0].rpartition("/")[2], max(places)
    if first not in (*_RUNNERS, *programs) and not first.startswith("python"):
        return None
    if first in _RUNNING[0] and not _RUNNING[1] & set(rest[:last]):
        return None
    arguments = rest[last + 1 :]
    redirected = next((n for n, word in enumerate(arguments) if word[0] in "<>"), len(arguments))
    name = rest[last].rpartition("/")[2].replace("_", "-")
    return Command(assigned, name, tuple(arguments[:redirected]))
