# SPDX-License-Identifier: Apache-2.0
"""Everything that knows gunicorn: what its master prepares, and the worker that it forks.

Must not know Redis, events or frames: it starts and stops a service as a whole.
"""
