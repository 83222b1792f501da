# SPDX-License-Identifier: Apache-2.0
"""The environment as a level: a variable for most keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from wsgi_ws.config.draft import Draft
from wsgi_ws.config.keys import keys
from wsgi_ws.config.meanings import BadValue, shown, without_quotes
from wsgi_ws.config.set_by import Kind, SetBy
from wsgi_ws.config.values import from_text, kubernetes_hint


def lay_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    """Take the variables' values.

    Of a wrong number or truth value a warning is enough, as in the Node server: it may be meant for
    others, and what lies below it stays. A wrong word for what is served, or for whom, is a
    problem: what lies below it may be the opposite of what was meant.
    """
    for key in keys():
        text = environ.get(key.env, "") if key.env else ""
        if not text.strip():
            continue
        if not key.secret:  # Superset's HMAC takes the secret to the byte
            text = text.strip()
        source = SetBy(Kind.ENVIRONMENT, str(key.env))
        try:
            draft.put(key.path, from_text(key, text), source)
        except BadValue as error:
            if key.choices and not key.shared:
                draft.put(key.path, text, source)
                problem = f"{draft.named(key.path)} is {shown(text)}: {error}"
                draft.reject(key.path, problem + without_quotes(text))
                continue
            below = draft.set_by(key.path)
            draft.warnings.append(
                f"{source}={shown(text, key.secret)} is ignored ({error}); {key.path} stays at the "
                f"value of {below}"
                f"{kubernetes_hint(text, str(key.env))}{without_quotes(text)}"
            )
