# SPDX-License-Identifier: Apache-2.0
"""What the service tells about itself: metrics, log lines, a watch on the event loop.

The other packages call it. It must not know where events come from or how clients are served.
"""
