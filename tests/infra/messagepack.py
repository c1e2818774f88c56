"""The part of MessagePack that Terraform uses (https://github.com/msgpack/msgpack/blob/master/spec.md)."""

import struct
from typing import Any


class _Unknown:
    """A value that is known only after applying. MessagePack encodes it as an extension of any kind."""


UNKNOWN = _Unknown()
# The format of the length or number after each first byte.
LENGTHS = {
    0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xC7: ">B", 0xC8: ">H", 0xC9: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I",
    0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I",
}  # fmt: skip
NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
    0xD3: ">q",
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def pack(value: Any) -> bytes:
    if value is UNKNOWN:
        return b"\xd4\x00\x00"
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return b"\xdb" + struct.pack(">I", len(text)) + text
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    assert isinstance(value, dict), value
    items = (pack(key) + pack(item) for key, item in value.items())
    return b"\xdf" + struct.pack(">I", len(value)) + b"".join(items)


def unpack(data: bytes) -> Any:
    value, end = _read(data, 0)
    assert end == len(data)
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    """Return the value that begins at `at`, and the position of the next value."""
    first, at = data[at], at + 1
    if first in CONSTANTS:
        return CONSTANTS[first], at
    if first < 0x80 or first >= 0xE0:
        return first if first < 0x80 else first - 0x100, at
    if first in NUMBERS:
        return struct.unpack_from(NUMBERS[first], data, at)[0], at + struct.calcsize(NUMBERS[first])
    if 0xD4 <= first <= 0xD8:
        return UNKNOWN, at + 1 + (1 << first - 0xD4)
    if first in LENGTHS:
        length = struct.unpack_from(LENGTHS[first], data, at)[0]
        at += struct.calcsize(LENGTHS[first])
    else:
        length = first & (0x1F if 0xA0 <= first < 0xC0 else 0x0F)
    if 0xC7 <= first <= 0xC9:
        return UNKNOWN, at + 1 + length
    if 0xA0 <= first < 0xC0 or 0xD9 <= first <= 0xDB:
        return data[at : at + length].decode(), at + length
    if 0xC4 <= first <= 0xC6:
        return data[at : at + length], at + length
    items = []
    is_map = first in (0xDE, 0xDF) or 0x80 <= first < 0x90
    for _ in range(length * (2 if is_map else 1)):
        item, at = _read(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if is_map else items), at
