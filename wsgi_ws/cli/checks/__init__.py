# SPDX-License-Identifier: Apache-2.0
"""The parts of `python -m wsgi_ws check`: one file per subject, each returns findings.

No subject knows another: `words` has what they share, `whole` puts them in order. They know the
configuration, Redis and Superset's settings as an operator has them, and need no running service.
"""
