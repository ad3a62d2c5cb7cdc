"""Timestamps in Arrow arrays of strings, checked on the bytes of their buffer, eight characters at a time as one number.

There is no loop over rows, and no Python object for any of them. The mask that comes out may suspect a valid timestamp
(some at the ends of the years 0001 to 9999); it never misses one that is not, by `lib.versioning.schema.timestamp_problem`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lib.versioning.schema import TIMESTAMP_SHAPES

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]

#: So many timestamps are worked on at a time, so that all passes over them find them in the processor's cache.
BLOCK: Final = 1 << 15
#: Added to a length to tell the shapes of the same length apart.
_WITH_Z, _WITH_OFFSET = 64, 128
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.uint8)
_TENS_AND_ONES = np.uint64(0x0A01)
_UPPER_HALVES, _UPPER_BITS = np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(0x8080808080808080)


@dataclass(frozen=True)
class _Word:
    """Eight characters of a timestamp as one number, the first its lowest byte, and constants to test all at once.

    XOR with `text` makes a digit its value, and anything else that is as it should be 0. Adding `lift` takes to 16 or more
    a digit above its limit (9, or 5 for the tens of minutes and seconds), and all but 0 in the place of anything else.
    Each byte plus ten times the one before gives, in some bytes, the number of a month, a day, an hour or a century. Adding
    `high` takes one that is too great above 127, taking it from `low` one that is too small; all others stay below.
    """

    start: int
    text: np.uint64
    lift: np.uint64
    high: np.uint64
    low: np.uint64
    has_numbers: bool
    day_at: int | None
    """The byte that gives the day, in the word that it is tested in."""


def _number(octets: Iterable[int]) -> np.uint64:
    return np.uint64(int.from_bytes(bytes(octets), "little"))


def _words(shape: str) -> tuple[_Word, ...]:
    """Cover a shape with words, of which the last two may overlap; each limit is tested in the first that can."""
    size, has_offset = len(shape), shape[-6:-5] == "+"
    # Least and greatest number by position. Years below 100, and with an offset from 9900 on, are left to a closer look.
    limits = {0: (1, 98 if has_offset else 99), 5: (1, 12), 8: (1, 31), 11: (0, 23)}
    lifts = {at: 6 if character == "0" else 15 for at, character in enumerate(shape)} | {14: 10, 17: 10}
    if has_offset:
        limits[size - 5] = (0, 23)
        lifts |= {size - 6: 0, size - 2: 10}  # either sign will do
    words = []
    for start in (*range(0, size - 8, 8), size - 8):
        places = range(start, start + 8)
        here = {at + 1: limits.pop(at) for at in places[:-1] if at in limits}
        words.append(
            _Word(
                start,
                text=_number(map(ord, shape[start : start + 8])),
                lift=_number(lifts[at] for at in places),
                high=_number(127 - here[at][1] if at in here else 0 for at in places),
                low=_number(127 + here[at][0] if at in here else 127 for at in places),
                has_numbers=bool(here),
                day_at=9 - start if 9 in here else None,
            )
        )
    return tuple(words)


def _shape_key(shape: str) -> int:
    return len(shape) + (_WITH_Z if shape[-1] == "Z" else _WITH_OFFSET if shape[-6:-5] == "+" else 0)


_WORDS: Final = {_shape_key(s): _words(s) for s in TIMESTAMP_SHAPES if s[-6:-5] != "-" or len(s) == 10}


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
        _clear_valid(offsets[start : start + BLOCK + 1], data, mask[start : start + BLOCK])
    return mask


def _clear_valid(offsets: NDArray[np.signedinteger], data: NDArray[np.uint8], mask: Mask) -> None:
    """Set the mask to False where there is a timestamp. Shapes are told apart by length and by how they end."""
    keys = np.minimum(np.diff(offsets), _WITH_Z - 1).astype(np.uint8)
    tails = np.flatnonzero(keys > len("0000-00-00T00:00:00"))
    if tails.size:
        ends = offsets[1:][tails]
        last, sign = data[ends - 1], data[ends - 6]
        with_offset = (sign == ord("+")) | (sign == ord("-"))
        keys[tails] += np.where(last == ord("Z"), _WITH_Z, _WITH_OFFSET * with_offset).astype(np.uint8)
    while key := int(keys.max()):
        others = keys != key
        if key in _WORDS:
            at, size = np.flatnonzero(~others), key % _WITH_Z
            # They may begin anywhere; where all have one shape, they lie side by side and needn't be gathered.
            every = np.ndarray((data.size - size + 1,), f"V{size}", buffer=data, strides=(1,))
            texts = every[offsets[at]] if at.size < keys.size else every[offsets[0] : offsets[-1] : size]
            mask &= others
            mask[at[_wrong(texts, _WORDS[key])]] = True
        keys *= others


def _wrong(texts: NDArray[np.void], words: tuple[_Word, ...]) -> Places:
    """The places of those texts, all of one shape, that are no timestamps."""
    count, size = len(texts), texts.itemsize
    stray, x, y = (np.zeros(count, np.uint64) for _ in range(3))
    beyond = np.zeros(count, np.uint64)
    late = np.zeros(count, bool)
    for word in words:
        np.bitwise_xor(np.ndarray((count,), "<u8", texts, word.start, (size,)), word.text, out=x)
        stray |= x
        stray |= np.add(x, word.lift, out=y)
        if word.has_numbers:
            x *= _TENS_AND_ONES
            if word.day_at is not None:
                np.greater(x.view(np.uint8)[word.day_at :: 8], 28, out=late)
            beyond |= np.add(x, word.high, out=y)
            beyond |= np.subtract(word.low, x, out=y)
    stray &= _UPPER_HALVES
    beyond &= _UPPER_BITS
    stray |= beyond
    wrong = stray != 0
    late = np.flatnonzero(late)
    if late.size:
        wrong[late] |= _beyond_month(texts[late])
    return np.flatnonzero(wrong)


def _beyond_month(texts: NDArray[np.void]) -> Mask:
    """A mask of the texts whose month has no such day (or anything where there is no month)."""
    digits = texts.view(np.uint8).reshape(len(texts), -1)[:, :10] - ord("0")
    century, year, month, day = (10 * digits[:, at] + digits[:, at + 1] for at in (0, 2, 5, 8))
    leap = (year % 4 == 0) & ((year != 0) | (century % 4 == 0))
    return day > _DAYS.take(month, mode="clip") + (leap & (month == 2))
