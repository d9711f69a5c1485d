"""Unpacking compressed record batches piece by piece.

aiokafka unpacks a batch whole, and 35 kB of zstd may hold a gigabyte. `most_unpacked` is the size
that a batch cannot exceed, known before a byte of it is unpacked: zstd and LZ4 frames are
sequences of blocks, which have a largest size; Snappy writes the size in front; deflate never does
better than 1 to 1,032. `pieces` unpacks in bounded memory: at most the window of zstd (128 MiB,
what its library allows), a block of Snappy (21 times the compressed batch), else a few hundred
kilobytes.
"""

import gzip
import io
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import codec
from aiokafka.errors import CorruptRecordException

Packed = bytes | memoryview

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4  # as in the attributes of a batch

_PIECE = 64 * 1024
_DEFLATE_RATIO = 1032
_LZ4_RATIO = 255
_SNAPPY_RATIO = 64  # no copy makes more of a byte
_ZSTD_BLOCK = 128 * 1024
_ZSTD_MAGIC, _LZ4_MAGIC = 0xFD2FB528, 0x184D2204
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # frames that both formats step over
_XERIAL_HEADER = 16  # bytes


def most_unpacked(compression: int, packed: Packed) -> int:
    """The most bytes that `packed` can unpack to. Malformed data counts up to the fault: nothing
    behind it is unpacked either.
    """
    if compression == GZIP:
        return len(packed) * _DEFLATE_RATIO
    if compression == SNAPPY:
        return sum(size for _, size in _snappy_blocks(packed))
    if compression in (LZ4, ZSTD):
        return _most_in_frames(packed, _lz4_frame if compression == LZ4 else _zstd_frame)
    return 0  # aiokafka raises for any other


def unpacked(compression: int, packed: Packed, limit: int) -> bytes | None:
    """All of `packed`, where it is certain to have at most `limit` bytes and that costs nothing
    twice; else None."""
    if compression != GZIP:
        return None
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        whole = unpacker.decompress(packed, limit)
    except zlib.error:
        return None  # as it comes to light again in `pieces`
    return whole if unpacker.eof and not unpacker.unused_data else None


def pieces(compression: int, packed: Packed) -> Iterator[bytes]:
    """Yield the unpacked content of `packed`, in order.

    Raises:
        CorruptRecordException: it is malformed, or ends too soon.
    """
    if compression == GZIP:
        return _gzip_pieces(packed)
    if compression == SNAPPY:
        return _snappy_pieces(packed)
    module = codec.cramjam.lz4 if compression == LZ4 else codec.cramjam.zstd
    return _piped(module.decompress_into, packed)


def _most_in_frames(packed: Packed, frame: Callable[[Packed, int], tuple[int, int]]) -> int:
    """The sum over all frames; `frame` returns the most that one can hold, and where it ends."""
    most = place = 0
    magic = _ZSTD_MAGIC if frame is _zstd_frame else _LZ4_MAGIC
    while place < len(packed):
        found = _number(packed, place, 4)
        if found in _SKIPPABLE:
            place += 8 + _number(packed, place + 4, 4)
        elif found == magic and place + 6 < len(packed):
            held, place = frame(packed, place)
            most += held
        else:
            break
    return most


def _zstd_frame(packed: Packed, place: int) -> tuple[int, int]:
    descriptor = packed[place + 4]
    is_single = descriptor >> 5 & 1
    size_of_size = (is_single, 2, 4, 8)[descriptor >> 6]
    place += 6 - is_single + (0, 1, 2, 4)[descriptor & 3] + size_of_size
    most = is_last = 0
    while not is_last and place < len(packed):
        header = _number(packed, place, 3)
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        is_repeated, is_stored = kind == 1, kind == 0
        most += size if is_repeated or is_stored else _ZSTD_BLOCK
        place += 3 + (1 if is_repeated else size)
    return most, place + (descriptor & 4)


def _lz4_frame(packed: Packed, place: int) -> tuple[int, int]:
    flags, block = packed[place + 4], packed[place + 5]
    largest = 1 << (8 + 2 * (block >> 4 & 7))
    place += 7 + (flags & 8) + (flags & 1) * 4
    most = 0
    while place < len(packed):
        header = _number(packed, place, 4)
        place += 4
        if header == 0:
            break
        size = header & 0x7FFFFFFF
        most += size if header >> 31 else min(largest, size * _LZ4_RATIO)
        place += size + (flags >> 4 & 1) * 4
    return most, place + (flags & 4)


def _number(packed: Packed, place: int, width: int) -> int:
    return int.from_bytes(packed[place : place + width], "little")


def _snappy_blocks(packed: Packed) -> Iterator[tuple[Packed, int]]:
    """The blocks, each with the size that it declares; a malformed one is the last."""
    place, end = 0, len(packed)
    is_framed = codec._detect_xerial_stream(packed)  # noqa: SLF001 - so that both see the same
    if is_framed:
        place = _XERIAL_HEADER
    while place < len(packed):
        if is_framed:
            size = int.from_bytes(packed[place : place + 4], "big", signed=True)
            place += 4
            end = place + size
            if size < 0:
                return
        block = packed[place:end]
        place = end
        try:
            yield block, codec.cramjam.snappy.decompress_raw_len(block)
        except codec.cramjam.DecompressionError:
            return


def _snappy_pieces(packed: Packed) -> Iterator[bytes]:
    for block, size in _snappy_blocks(packed):
        if size > len(block) * _SNAPPY_RATIO:
            raise CorruptRecordException(f"{len(block)} bytes of Snappy cannot hold {size}")
        try:
            yield bytes(codec.cramjam.snappy.decompress_raw(block))
        except codec.cramjam.DecompressionError as error:
            raise CorruptRecordException(str(error)) from error


def _gzip_pieces(packed: Packed) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacking:
        while True:
            try:
                piece = unpacking.read(_PIECE)
            except (OSError, EOFError, zlib.error) as error:
                raise CorruptRecordException(str(error)) from error
            if not piece:
                return
            yield piece


def _piped(decompress_into: Callable[[Packed, Any], Any], packed: Packed) -> Iterator[bytes]:
    """Yield the bytes that `decompress_into` writes. cramjam has no decompressor that stops
    half-way; but it writes into files, and a pipe blocks its thread until the reader has caught up.
    """
    outlet, inlet = os.pipe()
    ends: list[str | None] = []
    writer = threading.Thread(
        target=_write, args=(decompress_into, packed, inlet, ends), name="unpacking", daemon=True
    )
    try:
        writer.start()
        while piece := os.read(outlet, _PIECE):
            yield piece
        writer.join()
        if ends != [None]:
            raise CorruptRecordException(*ends)
    finally:
        os.close(outlet)  # a writer that is not through ends with a broken pipe


def _write(
    decompress_into: Callable[[Packed, Any], Any],
    packed: Packed,
    inlet: int,
    ends: list[str | None],
) -> None:
    """Unpack into the pipe; adds to `ends` None, or the error."""
    try:
        try:
            sink = codec.cramjam.File(f"/dev/fd/{inlet}", read=False, write=True, truncate=False)
        finally:
            os.close(inlet)
        decompress_into(packed, sink)
        ends.append(None)
    except (codec.cramjam.DecompressionError, OSError) as error:
        ends.append(str(error))  # the error itself would keep the pipe open
