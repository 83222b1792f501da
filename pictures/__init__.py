# SPDX-License-Identifier: Apache-2.0
"""`make pictures`: README's pictures of the page of `make run`, taken from the real page."""
