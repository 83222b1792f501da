# SPDX-License-Identifier: Apache-2.0
"""Messages from Redis Pub/Sub (Superset 7): one channel for all, routed by user and tab.

`subscriber` keeps the subscription, `envelope` reads a message, `broadcast` sends what is for
everybody without holding up the rest, `memory` keeps what a tab may miss between two sockets, and
`resync` closes the sockets that may have missed something, so that browsers ask Superset.
"""
