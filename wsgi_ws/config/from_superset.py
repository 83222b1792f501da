# SPDX-License-Identifier: Apache-2.0
"""With `supersetConfig`, Superset's own settings are the level below the file: one source of truth.

`superset_settings` reads them, this decides what they mean here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsgi_ws.config.draft import Draft
from wsgi_ws.config.keys import key_of, shown
from wsgi_ws.config.set_by import Kind, SetBy
from wsgi_ws.superset.settings import Said, Unknown, own_values, read, surprises, target_of

_ADDRESS = (  # half of an address from here and half from there leads nowhere
    *("redis.host", "redis.port", "redis.unixSocketPath"),
    *("redis.sentinels", "redis.sentinelMaster", "redis.sentinelPassword"),
)


def lay_superset(draft: Draft, environ: Mapping[str, str]) -> None:
    """Take what Superset's settings say for every key that neither file nor environment has.

    :raises SupersetError: when they can't be read: then nothing is known of what they would give.
    """
    target = draft.values.get("supersetConfig", "").strip()
    if not target:
        return
    superset = read(target_of(target, environ), environ)
    said = own_values(superset)
    if _has_other_address(draft, said):
        chosen = draft.all_named([path for path in _ADDRESS if path in draft.sources])
        draft.warnings.append(f"{chosen} wins over Superset's {said[_address_kind(said)]}")
        said = {path: value for path, value in said.items() if path not in _ADDRESS}
    else:
        draft.warnings.extend(surprises(superset))
    for path, value in said.items():
        if path in draft.sources:
            _compare(draft, path, value)
        elif isinstance(value.value, Unknown):
            draft.reject(
                path,
                f"{path} can't be taken from Superset's {value}, which is made with something "
                "that is not installed here: set it here too",
            )
        else:
            draft.put(path, value.value, SetBy(Kind.SUPERSET, value.setting, str(value.where)))


def _compare(draft: Draft, path: str, said: Said) -> None:
    """What is set here too wins; the operator hears of it if it differs."""
    if path in draft.problems or _agree(draft.values[path], said.value):
        return
    how = "differs from" if key_of(path).secret else f"is {shown(draft.values[path])}, unlike"
    draft.warnings.append(f"{draft.named(path)} {how} Superset's {said}, and wins")


def _has_other_address(draft: Draft, said: Mapping[str, Said]) -> bool:
    """Whether file or environment have an address of another kind than Superset."""
    for path in ("redis.sentinels", "redis.unixSocketPath", "redis.host"):
        if draft.values.get(path):
            return path != _address_kind(said)
    return False


def _address_kind(said: Mapping[str, Said]) -> str:
    path = said.get("redis.unixSocketPath")
    if "redis.sentinels" in said:
        return "redis.sentinels"
    return "redis.unixSocketPath" if path and path.value else "redis.host"


def _agree(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return set(theirs) <= set(ours)  # more algorithms than Superset's do no harm
    return isinstance(theirs, Unknown) or bool(ours == theirs)
