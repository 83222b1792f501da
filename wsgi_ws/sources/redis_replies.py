# SPDX-License-Identifier: Apache-2.0
"""What Redis answers: whether a reply has the form of its command's, and what an error means.

redis-py's classes say less than the words of an answer, and differ between its versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis

from wsgi_ws.observe.log_lines import printable

ERROR_SHOWN = 1000  # characters: several Sentinels' trouble is one error

# Older versions of redis-py have no class for these answers, and quote those in a pipeline.
_CLUSTER = re.compile(
    "(^|caused error: )(MOVED|ASK|CLUSTERDOWN|CROSSSLOT) |not allowed in cluster mode"
)


_PASSING = ("BUSY", "LOADING", "MASTERDOWN", "NOAUTH", "TRYAGAIN")
_UNKNOWN_COMMAND = re.compile("(unknown|unsupported) command|command (is )?not supported", re.I)


class MalformedReply(redis.ResponseError):
    """A reply of another form than its command has: garbled on its way, or not Redis's.

    A `ResponseError`, so that in a pipeline it is the error of one command.
    """


# --- forms --------------------------------------------------------------------------------------


def entries_of(reply: Any) -> Any:
    """The entries of a stream as they are in a reply, whose form is checked.

    Positions are read from them and connections are matched by them, so that what is no entry must
    not get any further: it would end the worker there. On the way of every event, hence the loop.

    :raises MalformedReply: they are none.
    """
    if reply is None:
        return ()
    try:
        for entry_id, fields in reply:
            if type(entry_id) is not bytes or type(fields) is not list:
                raise MalformedReply("an entry without an ID or fields")
            if len(fields) != 2 or type(fields[1]) is not bytes:  # Superset's have the one field
                _check_fields(fields)
        if reply and not (_is_id(reply[0][0]) and _is_id(reply[-1][0])):
            raise MalformedReply("an entry whose ID is none")
    except (TypeError, ValueError, LookupError) as error:
        raise MalformedReply("a reply that is not the entries of a stream") from error
    return reply


def _is_id(text: bytes) -> bool:
    ms, _, sequence = text.partition(b"-")
    return ms.isdigit() and sequence.isdigit()


def stream_of(reply: Any) -> Any:
    """The entries in a reply to XREAD for one stream; empty when there are none.

    :raises MalformedReply: it has another form.
    """
    if reply is None:
        return ()
    try:
        ((_, entries),) = reply
    except (TypeError, ValueError) as error:
        raise MalformedReply("a reply that is not that to XREAD") from error
    return entries_of(entries)


def time_of(reply: Any) -> Any:
    """A reply to TIME, whose form is checked.

    :raises MalformedReply: it has another one.
    """
    texts = reply if type(reply) is list and len(reply) == 2 else [b"?"]
    if not all(type(text) is bytes and text.isdigit() for text in texts):
        raise MalformedReply("a reply that is not that to TIME")
    return reply


# By command: what is asked by redis-py and what is asked on the wire are checked alike.
FORM_OF: dict[str, Callable[[Any], Any]] = {
    "XRANGE": entries_of,
    "XREVRANGE": entries_of,
    "TIME": time_of,
}


def clock_ms(reply: Sequence[Any]) -> int:
    """Redis's clock, milliseconds since the epoch.

    :param reply: to the command TIME: seconds, and microseconds of the second.
    """
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) // 1000


def _check_fields(fields: Sequence[Any]) -> None:
    if not all(type(text) is bytes for text in fields):
        raise MalformedReply("an entry with a field that is no text")


# --- errors -------------------------------------------------------------------------------------


def is_cut_off(error: Exception) -> bool:
    """Whether an error is the end of a connection that a reply was to come on, and not the failure
    to make one. redis-py has one class for both."""
    if isinstance(error, ConnectionResetError):  # of our own reading: redis-py hides it in its own
        return True
    text = str(error)
    return isinstance(error, (redis.ConnectionError, ConnectionError)) and (
        "closed by server" in text or "while reading" in text
    )


def will_pass(error: Exception) -> bool:
    """Whether an error is one of the whole server or connection, and for a time: a script holds it
    up, its master is gone, it loads its data, or a password was set. redis-py has classes for most,
    and without it they are told by Redis's first word."""
    names = (redis.exceptions.MasterDownError, redis.exceptions.TryAgainError)
    return isinstance(error, names) or str(error).startswith(_PASSING)


def is_forbidden(error: Exception) -> bool:
    """Whether the user may not use the command, the key or the channel, or nobody may: a proxy or
    an old Redis does not know the command."""
    text = str(error)
    if isinstance(error, redis.exceptions.NoPermissionError) or text.startswith("NOPERM"):
        return True  # the latter as Redis spells it, without redis-py
    return isinstance(error, redis.ResponseError) and bool(_UNKNOWN_COMMAND.search(text))


def is_of_ping_alone(error: redis.ResponseError) -> bool:
    """Whether Redis's refusal of PING says nothing about messages: this user may not ask, or Redis
    can't save its data and permits no writes, which PUBLISH is none of.

    Redis looks at both first: the refusal hides that a script runs, that the master is gone or that
    data is loaded, for which PUBLISH would be refused, or nothing heard.
    """
    return is_forbidden(error) or str(error).startswith("MISCONF")


def is_of_cluster(error: object) -> bool:
    """Whether only a Redis Cluster answers like this."""
    if isinstance(error, redis.exceptions.MasterDownError):  # any replica does
        return False
    errors = redis.exceptions
    kinds = (errors.AskError, errors.ClusterError, errors.ClusterCrossSlotError)  # Moved is an Ask
    return isinstance(error, kinds) or bool(_CLUSTER.search(str(error)))


def told(error: Exception) -> str:
    """An error as an operator can use it, a part of one line. redis-py leaves out the word that
    tells a Cluster; what answers in Redis's place may say anything, at any length."""
    text = printable(str(error), ERROR_SHOWN)
    if is_of_cluster(error):
        return f"a Redis Cluster, which neither Superset nor this server can use: {text}"
    return text


# --- permissions --------------------------------------------------------------------------------


class Permission(NamedTuple):
    """What Redis's user must be allowed to do for a transport.

    :ivar deed: the end of "user ws may not …".
    :ivar rules: in the words of ACL SETUSER.
    """

    user: str
    deed: str
    rules: str

    @property
    def lacking(self) -> str:
        """The sentence about a user who lacks it, with Redis's command that gives it."""
        return (
            f"user {self.user} may not {self.deed}: allow it in Redis with "
            f"ACL SETUSER {self.user} {self.rules}"
        )

    def explain(self, error: Exception) -> str:
        """What an error means that is `is_forbidden`.

        The connection begins with SELECT where the database is not 0, and a proxy that does not
        know a command has no permissions to give.
        """
        text = str(error)
        if _UNKNOWN_COMMAND.search(text):
            return f"what answers in Redis's place can't {self.deed}"
        if "'select'" in text.lower():
            return self._replace(deed="SELECT its database", rules="+select").lacking
        return self.lacking


def to_follow_streams(user: str, prefix: str, commands: str = "read") -> Permission:
    """What following the streams takes, and catching up.

    :param prefix: of all the streams.
    :param commands: those that are lacking, if that is known.
    """
    rules = f"~{prefix}* +xread +xrange +xrevrange +time +select"
    return Permission(user, f"{commands} {prefix}*", rules)


def to_subscribe(user: str, channel: str) -> Permission:
    """What the subscription to a channel takes. A user made by ACL has no channel unless told."""
    return Permission(user, f"SUBSCRIBE to {channel}", f"&{channel} +subscribe +ping")


def to_ping(user: str) -> Permission:
    """What it takes to ask a Redis that is silent for a sign of life."""
    return Permission(user, "PING", "+ping")
