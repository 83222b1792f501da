# SPDX-License-Identifier: Apache-2.0
"""`redis.url` stands for several keys: it is spelled out at the level that it comes from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsgi_ws.config.draft import Draft
from wsgi_ws.config.keys import redis_key
from wsgi_ws.config.meanings import BadValue, without_quotes
from wsgi_ws.config.redis_url import parse_url
from wsgi_ws.config.set_by import Kind, SetBy


def spell_out_url(draft: Draft) -> Mapping[str, Any]:
    """Set the keys that `redis.url` stands for; the URL wins over their values so far.

    To be called after each level that may have a URL: the file, the environment.

    :returns: what it has set, by dotted key; nothing without a URL.
    """
    url = draft.values.pop("redis.url", "").strip()
    if not url:
        return {}
    where, source = draft.named("redis.url"), draft.sources["redis.url"]
    try:
        parts, ignored = parse_url(url)
    except BadValue as error:
        draft.reject("redis.url", f"{where} {error}{without_quotes(url)}")
        return {}
    said = {redis_key(name): value for name, value in parts.items()}
    said |= {"redis.sentinels": (), "redis.sentinelMaster": ""}
    overruled = [
        path
        for path, value in said.items()
        if draft.values.get(path) != value
        and draft.set_by(path).kind not in (Kind.DEFAULT, Kind.URL)
    ]
    if overruled:
        draft.warnings.append(f"{where} wins over {draft.all_named(sorted(overruled))}")
    if ignored:
        draft.warnings.append(f"{where}: options without effect here: {', '.join(sorted(ignored))}")
    for path, value in said.items():
        draft.put(path, value, SetBy(Kind.URL, "redis.url", str(source)))
    return said


def warn_of_overruled_parts(draft: Draft, said: Mapping[str, Any]) -> None:
    """Warn when the environment changes a part of the file's URL: that is rarely meant.

    :param said: what the file's URL has set before the environment came.
    """
    overruling = sorted(path for path, value in said.items() if draft.values[path] != value)
    if overruling:
        draft.warnings.append(
            f"{draft.named('redis.url')} is overruled in parts by {draft.all_named(overruling)}"
        )
