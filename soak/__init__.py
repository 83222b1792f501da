# SPDX-License-Identifier: Apache-2.0
"""Twenty bad minutes for real servers, and a verdict on them. `python -m soak`."""
