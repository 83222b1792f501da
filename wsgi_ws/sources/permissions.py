# SPDX-License-Identifier: Apache-2.0
"""Does this user of Redis have the permissions that catch-ups need?

Following needs fewer. Without a look at the others, a user with too few would seem to be fine until
the first browser comes back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import gevent
import redis

from wsgi_ws.sources.redis_replies import is_of_cluster, told

log = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds between two looks
RETRY_INTERVAL = 5.0  # when something was missing: whoever mends it wants to see it


class Permissions:
    """Tries the commands now and then, and keeps what is missing."""

    def __init__(self, client: redis.Redis, commands: Mapping[str, tuple[str | int, ...]]) -> None:
        """
        :param client: used by nobody else; has no connection between two looks.
        :param commands: harmless ones, by what a user needs for each in the words of ACL SETUSER.
        """
        self.missing = ""  # a sentence
        self._client = client
        self._commands = commands

    def run(self) -> None:
        """Look until killed."""
        while True:
            self.look()
            gevent.sleep(RETRY_INTERVAL if self.missing else INTERVAL)

    def look(self) -> None:
        """Try the commands; an outage leaves open what is permitted."""
        try:
            missing = self._try()
        except (redis.RedisError, OSError):
            return
        finally:
            self._client.connection_pool.disconnect()
        if missing and missing != self.missing:
            log.error("%s; clients that come back can't get what they have missed (1011)", missing)
        elif self.missing and not missing:
            log.info("the permissions in Redis are complete now")
        self.missing = missing

    def _try(self) -> str:
        for needed, command in self._commands.items():
            name = str(command[0])
            try:
                self._client.execute_command(*command)
            except redis.exceptions.NoPermissionError as error:
                # It may be another command's: SELECT, when the connection begins.
                own = name.lower() in str(error).lower() or "key" in str(error).lower()
                remedy = f": its user needs {needed}" if own else ""
                return f"{name} is not permitted by Redis{remedy} ({told(error)})"
            except redis.ResponseError as error:
                if is_of_cluster(error):
                    return f"Redis can't be used: it is {told(error)}"
                raise
        return ""
