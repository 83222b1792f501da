# SPDX-License-Identifier: Apache-2.0
"""The configuration: its keys, the levels that values come from, and what is wrong with them.

Knows the environment and files, and reads them once. Must not import any other part of the service
but the reader of Superset's settings.
"""
