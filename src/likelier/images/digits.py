"""scikit-learn's handwritten digits, 8 by 8 pixels, and how pictures of any square size are written as PNG."""

import math
import struct
import zlib
from functools import cache

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from likelier.errors import ConfigError

SCALE = 16
"""Screen pixels of a picture's pixel, along each side."""

Pixels = NDArray[np.float32]
"""Ink of each pixel, from 0 (paper) to 1, [N, P]."""


@cache
def load_digits() -> tuple[Pixels, NDArray[np.int64]]:
    """Return pixels and labels of the 1,797 digits. ConfigError: scikit-learn is not installed."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise ConfigError("pictures: the digits come with scikit-learn; `pip install scikit-learn`") from error
    pixels, labels = load(return_X_y=True)
    return (pixels / 16).astype(np.float32), labels.astype(np.int64)


def write_png(ink: NDArray[np.float32]) -> bytes:
    """Return a grey PNG file of ink [H, W] in 0 to 1, dark on light, each pixel a square of `SCALE` pixels."""
    grey = np.round(255 * (1 - np.clip(ink, 0, 1))).astype(np.uint8).repeat(SCALE, 0).repeat(SCALE, 1)
    height, width = grey.shape
    lines = b"".join(b"\0" + line.tobytes() for line in grey)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def to_ink(pictures: Float[Tensor, "N P"]) -> Pixels:
    """Return pictures of the models, from -1 (paper) to 1, as ink from 0 to 1."""
    ink: Pixels = ((pictures.detach().cpu() + 1) / 2).clamp(0, 1).numpy().astype(np.float32)
    return ink


def to_squares(ink: Pixels) -> NDArray[np.float32]:
    """Return pictures [N, P] as [N, S, S]. ConfigError: P is no square number."""
    side = math.isqrt(ink.shape[1])
    if side * side != ink.shape[1]:
        raise ConfigError(f"pictures: {ink.shape[1]} pixels are no square; give as many as 8 x 8 or 12 x 12")
    return ink.reshape(-1, side, side)


def write_sheet(ink: Pixels, columns: int = 10) -> bytes:
    """Return one PNG file with all pictures in rows of `columns`, a line of paper between them.

    ConfigError: they are no squares.
    """
    squares = to_squares(ink)
    rows, side = -(-len(ink) // columns), squares.shape[1]
    sheet = np.zeros((rows * (side + 1) + 1, columns * (side + 1) + 1), np.float32)
    for at, picture in enumerate(squares):
        top, left = (place * (side + 1) + 1 for place in divmod(at, columns))
        sheet[top : top + side, left : left + side] = picture
    return write_png(sheet)
