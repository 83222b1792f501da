# SPDX-License-Identifier: Apache-2.0
"""Several instances behind HAProxy under load: some are restarted, one is killed; a verdict."""
