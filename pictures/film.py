# SPDX-License-Identifier: Apache-2.0
"""Pictures of a page that moves, put together into one animated WebP."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image  # type: ignore[import-not-found,unused-ignore]

FRAME_S = 0.4
LAST_FRAME_MS = 3000  # to read the end before it begins again
QUALITY = 55


class Film:
    """Takes a picture of what `look` returns every moment, until it is saved."""

    def __init__(self, look: Callable[[], bytes], width: int) -> None:
        """
        :param look: returns a picture as PNG.
        :param width: in pixels; the height follows.
        """
        self._look = look
        self._width = width
        self._frames: list[Image.Image] = []
        self._times: list[float] = []

    def run(self, seconds: float) -> None:
        """Film for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            picture = Image.open(io.BytesIO(self._look())).convert("RGB")
            height = round(picture.height * self._width / picture.width)
            self._frames.append(picture.resize((self._width, height), Image.Resampling.LANCZOS))
            self._times.append(began)
            time.sleep(max(0.0, began + FRAME_S - time.monotonic()))

    def save(self, file: Path) -> None:
        """Write it; each frame stays for as long as it did."""
        pairs = zip(self._times, self._times[1:], strict=False)
        durations = [round((later - earlier) * 1000) for earlier, later in pairs]
        first, *rest = self._frames
        first.save(
            file,
            save_all=True,
            append_images=rest,
            duration=[*durations, LAST_FRAME_MS],
            loop=0,
            quality=QUALITY,
            method=4,
        )
