# SPDX-License-Identifier: Apache-2.0
"""From a listening socket to an answer or an admitted client.

Knows HTTP, cookies and origins. Must not know Redis, where events come from, or what a frame is.
"""
