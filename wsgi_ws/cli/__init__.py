# SPDX-License-Identifier: Apache-2.0
"""The command line, `python -m wsgi_ws`: checks the set-up, makes tokens, shows and sends events.

Stands beside the service: the service never imports it, and it needs no gevent.
"""
