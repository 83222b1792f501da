# SPDX-License-Identifier: Apache-2.0
"""The soak's other half: pages of Superset 7, what is published for them, and a truth for it."""
