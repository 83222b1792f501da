# SPDX-License-Identifier: Apache-2.0
"""Superset itself, as far as this server must know it: its settings, and how they are read.

Must not know this server's configuration.
"""
