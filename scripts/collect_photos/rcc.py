"""Read Qt resource files (``.rcc``): the container in which some Debian packages keep photos."""

from __future__ import annotations

import struct
import zlib

_COMPRESSED, _DIRECTORY = 1, 2


def read_rcc(data: bytes) -> dict[str, bytes]:
    """Return path -> contents of all files of a Qt resource file.

    The layout is that of Qt's ``rcc`` tool: a header of big-endian offsets, a tree of nodes
    (14 bytes each, 22 from format 2 on, breadth first), names in UTF-16, and the data blocks.
    Entries compressed with zstd are passed over; photos are stored as they are.
    """
    magic, version, tree, blocks, names = struct.unpack_from(">4sIIII", data)
    if magic != b"qres":
        raise ValueError("not a Qt resource file")
    node_size = 14 if version < 2 else 22

    def name_at(offset: int) -> str:
        length = struct.unpack_from(">H", data, names + offset)[0]
        start = names + offset + 6  # 2 bytes length, 4 bytes hash
        return data[start : start + 2 * length].decode("utf-16-be")

    files: dict[str, bytes] = {}

    def walk(node: int, prefix: str) -> None:
        offset = tree + node * node_size
        name_offset, flags = struct.unpack_from(">IH", data, offset)
        path = prefix + name_at(name_offset) if node else prefix
        if flags & _DIRECTORY:
            count, first = struct.unpack_from(">II", data, offset + 6)
            for child in range(first, first + count):
                walk(child, path + "/" if node else "")
            return
        block = blocks + struct.unpack_from(">I", data, offset + 10)[0]
        size = struct.unpack_from(">I", data, block)[0]
        content = data[block + 4 : block + 4 + size]
        if flags & _COMPRESSED:
            content = zlib.decompress(content[4:])
        if not flags & 4:  # zstd
            files[path] = content

    walk(0, "")
    return files
