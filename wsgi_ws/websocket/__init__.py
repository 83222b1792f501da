# SPDX-License-Identifier: Apache-2.0
"""One WebSocket: frames (RFC 6455), its life on the event loop, and its pings.

Must not know HTTP, Redis or who gets which event.
"""
