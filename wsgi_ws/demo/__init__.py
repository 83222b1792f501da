# SPDX-License-Identifier: Apache-2.0
"""`make run`: the real server with a page and a sample producer. Never imported by the service."""
