# SPDX-License-Identifier: Apache-2.0
"""Real servers, wires and producers for tests, benchmarks and the soak."""
