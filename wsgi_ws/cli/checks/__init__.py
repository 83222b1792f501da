# SPDX-License-Identifier: Apache-2.0
"""What `python -m wsgi_ws check` looks at: one file per subject, each returns findings.

Knows the configuration, Redis and Superset's settings as an operator has them. It needs no running
service and imports nothing of one.
"""
