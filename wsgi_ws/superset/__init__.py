# SPDX-License-Identifier: Apache-2.0
"""Superset itself, as far as this server must know it: its settings and how they are read, the
events that it writes, the token that it signs.

Must not import any other part of this package, nor name a key of this server's configuration.
"""
