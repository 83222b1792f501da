# SPDX-License-Identifier: Apache-2.0
"""The `Cookie` header as browsers write it (RFC 6265 §5.4): names and values, `;` between them.

Pure. Browsers know no quoting here: a `;` ends a cookie also behind a `"`. A parser that waits for
the closing quote loses every cookie behind one that another application has begun with a quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def cookies_of(header: str) -> Iterator[tuple[str, str]]:
    """Name and value of each cookie, in the header's order; a name may be there several times.

    :param header: as WSGI has it, each byte a Latin-1 character. What is not UTF-8 is replaced:
        cookies of other applications may be anything.
    """
    for part in _text(header).split(";"):
        name, _, value = part.partition("=")
        if name.strip():
            yield name.strip(), _unquoted(value.strip())


def named(name: str) -> re.Pattern[str]:
    """What finds the cookies with a name, for `values_of`; made once, since that takes a while."""
    return re.compile(rf"(?:^|;)\s*{re.escape(name)}\s*=([^;]*)")


def values_of(header: str, cookie: re.Pattern[str]) -> Iterator[str]:
    """The values of the cookies with a name, in order. One without a `=` has no name.

    Looks at no other cookie: to take a header of thousands apart would cost milliseconds.

    :param header: as for `cookies_of`.
    """
    for found in cookie.finditer(_text(header)):
        yield _unquoted(found[1].strip())


def _text(header: str) -> str:
    return header.encode("latin-1", "replace").decode("utf-8", "replace")


def _unquoted(value: str) -> str:
    """A value without the quotes that RFC 6265 §4.1.1 permits around it."""
    quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if quoted else value
