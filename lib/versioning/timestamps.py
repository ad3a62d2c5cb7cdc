"""Timestamps in Arrow arrays of strings, checked on the bytes of their buffer, a character of all at a time.

There is no loop over rows, and no Python object for any of them. The mask that comes out may suspect a valid timestamp
(some at the ends of the years 0001 to 9999); it never misses one that is not, by `lib.versioning.schema.timestamp_problem`.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lib.versioning.schema import TIMESTAMP_SHAPES

Mask = NDArray[np.bool_]

#: So many timestamps are worked on at a time, so that all passes over them find them in the processor's cache.
BLOCK: Final = 1 << 14
_SHAPES: Final = {size: tuple(alike) for size, alike in groupby(sorted(TIMESTAMP_SHAPES, key=len), len)}
_DAYS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.uint8)


def string_buffers(strings: pa.Array) -> tuple[NDArray[np.signedinteger], NDArray[np.uint8]]:
    """The buffers of an array of strings: where each one starts, and the bytes of all."""
    _, offsets, data = strings.buffers()
    if not len(strings):  # then there may be no buffers
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    width = np.int64 if strings.type == pa.large_string() else np.int32
    starts = np.frombuffer(offsets, width)[strings.offset : strings.offset + len(strings) + 1]
    return starts, np.frombuffer(data if data is not None else b"", np.uint8)


def suspect_timestamps(texts: pa.Array) -> Mask:
    """A mask of all that are no timestamps. (Of a null it may say anything.)"""
    offsets, data = string_buffers(texts)
    mask = np.ones(len(texts), bool)
    for start in range(0, len(texts), BLOCK):
        block, suspected = offsets[start : start + BLOCK + 1], mask[start : start + BLOCK]
        sizes = np.diff(block)
        for size in _SHAPES.keys() & set(np.unique(sizes).tolist()):
            at = np.flatnonzero(sizes == size)
            every = np.ndarray((data.size - size + 1,), f"V{size}", buffer=data, strides=(1,))
            characters = every[block[at]].view(np.uint8).reshape(-1, size).T.copy()
            suspected[at] = np.logical_and.reduce([_wrong(characters, shape) for shape in _SHAPES[size]])
    return mask


def _wrong(characters: NDArray[np.uint8], shape: str) -> Mask:
    """A mask of the texts that are no timestamps of one shape; row i of `characters` holds character i of each text."""
    digits = characters - np.uint8(
        ord("0")
    )  # what is no digit becomes 10 or more: bytes begin again after 255
    wrong = np.zeros(characters.shape[1], bool)
    for at, character in enumerate(shape):
        wrong |= digits[at] > 9 if character == "0" else characters[at] != ord(character)
    has_offset = shape[10:][-6:-5] in ("+", "-")
    # Least and greatest number by position. Years below 100, and with an offset from 9900 on, are left to a closer look.
    limits = {0: (1, 98 if has_offset else 99), 5: (1, 12), 8: (1, 31), 11: (0, 23), 14: (0, 59), 17: (0, 59)}
    if has_offset:
        limits |= {len(shape) - 5: (0, 23), len(shape) - 2: (0, 59)}
    for at, (least, most) in limits.items():
        if at < len(shape):
            wrong |= 10 * digits[at] + digits[at + 1] - np.uint8(least) > most - least
    late = np.flatnonzero(10 * digits[8] + digits[9] > 28)
    century, year, month, day = (10 * digits[at][late] + digits[at + 1][late] for at in (0, 2, 5, 8))
    leap = (year % 4 == 0) & ((year != 0) | (century % 4 == 0))
    wrong[late] |= day > _DAYS.take(month, mode="clip") + (leap & (month == 2))
    return wrong
