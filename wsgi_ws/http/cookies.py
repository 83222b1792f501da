# SPDX-License-Identifier: Apache-2.0
"""The `Cookie` header as browsers write it (RFC 6265 §5.4): names and values, `;` between them.

Pure. Browsers know no quoting here: a `;` ends a cookie also behind a `"`. A parser that waits for
the closing quote loses every cookie behind one that another application has begun with a quote.
"""

from __future__ import annotations


def cookies_of(header: str) -> list[tuple[str, str]]:
    """Name and value of each cookie, in the header's order; a name may be there several times.

    :param header: as WSGI has it, each byte a Latin-1 character. What is not UTF-8 is replaced:
        cookies of other applications may be anything.
    """
    text = header.encode("latin-1", "replace").decode("utf-8", "replace")
    pairs = (part.partition("=") for part in text.split(";"))
    return [(name.strip(), _unquoted(value.strip())) for name, _, value in pairs if name.strip()]


def _unquoted(value: str) -> str:
    """A value without the quotes that RFC 6265 §4.1.1 permits around it."""
    quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if quoted else value
