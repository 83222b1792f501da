# SPDX-License-Identifier: Apache-2.0
"""The measuring stick: real gunicorn, real Redis, real sockets, from outside. `python -m bench`."""
