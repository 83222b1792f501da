# SPDX-License-Identifier: Apache-2.0
"""Events from Redis Streams (Superset up to 6.1): follow the global stream, and catch up clients.

`follower` reads through `reader`, `trimming` says when it must look for a gap, `fanout` hands
events out and keeps them in `history`. `catchup` serves clients that have missed something:
`waiting` is who waits, `archive` finds what there is, `replay` decides, `sending` sends no
faster than they read.
"""
