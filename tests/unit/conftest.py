# SPDX-License-Identifier: Apache-2.0
"""Settings for all unit tests: an example's time tells nothing on a machine that others use too."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
