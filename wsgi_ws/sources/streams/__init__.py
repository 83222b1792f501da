# SPDX-License-Identifier: Apache-2.0
"""Events from Redis Streams (Superset up to 6.1): follow the global stream, and catch up clients.

`follower` reads through `reader`, `fanout` hands events out and keeps them in `history`. `catchup`
sends what a returning client has missed: `archive` finds what there is, `replay` decides.
"""
