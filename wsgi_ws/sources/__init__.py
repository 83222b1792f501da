# SPDX-License-Identifier: Apache-2.0
"""Where events come from: one folder for each source, and the client for Redis that they share.

Knows Redis. Must not know HTTP, and hands frames to the hub without touching a socket.
"""
