# SPDX-License-Identifier: Apache-2.0
"""The real Superset and a real browser with this server between them. `python -m interop`."""
