"""Read the tables of a HEIF file, such as HEIC or AVIF: its items, and where they are (ISO/IEC 14496-12, 8.11).

Every number is the claim of an untrusted file. HeifError is raised for a claim that makes no sense, and for a file that
ends early.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from defacer.engine.media.mp4.boxes import parse_header

MAX_META_BYTES = 1024 * 1024  # of the box `meta`; that of a picture of 50 megapixels has 30 KB
IN_FILE, IN_ITEM_DATA = 0, 1  # construction methods: an item's data is in the file, or in the box `idat`


class HeifError(ValueError):
    """The file is damaged, or uses a part of the standard that is not supported."""


@dataclass(frozen=True)
class Property:
    """A property of items, such as a size or a rotation. `data` is the body of its box."""

    kind: bytes
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Reference:
    """A directed relation between items, such as from a grid to its tiles."""

    kind: bytes
    source: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class _Location:
    """The parts of an item's data, each as offset and length."""

    method: int
    extents: tuple[tuple[int, int], ...]


class HeifTables:
    """The box `meta` of a file, which numbers the items. The item `primary` is the picture."""

    def __init__(self, file: bytes):
        self._file = file
        self._unread = len(file)  # items that share bytes must not multiply the file
        meta = _boxes_by_kind(file).get(b"meta", [b""])[0]
        if len(meta) > MAX_META_BYTES:
            raise HeifError(f"its tables have more than {MAX_META_BYTES} bytes")
        boxes = _boxes_by_kind(meta[4:])
        if b"pitm" not in boxes:
            raise HeifError("it contains no picture")
        try:
            self.primary = _Fields(boxes[b"pitm"][0]).primary()
            self.kinds = _Fields(boxes[b"iinf"][0]).kinds()
            self.references = _Fields(boxes[b"iref"][0]).references() if b"iref" in boxes else []
            self._locations = _Fields(boxes[b"iloc"][0]).locations()
            self._properties = _properties(boxes[b"iprp"][0])
            self._item_data = boxes.get(b"idat", [b""])[0]
        except (struct.error, IndexError, KeyError) as error:
            raise HeifError("a table is missing or ends early") from error

    def properties(self, item: int, *kinds: bytes) -> list[Property]:
        """Return the item's properties of these kinds, in the order of their application."""
        return [found for found in self._properties.get(item, []) if found.kind in kinds]

    def read(self, item: int) -> bytes:
        """Return the data of an item. Raise HeifError if it is missing, or if all items have more than the file."""
        place = self._locations.get(item)
        if place is None or place.method not in (IN_FILE, IN_ITEM_DATA):
            raise HeifError("the data of an item is missing")
        source = self._file if place.method == IN_FILE else self._item_data
        self._unread -= sum(length for _, length in place.extents)
        if self._unread < 0:
            raise HeifError("its items have more data than the file")
        return b"".join(source[offset : offset + length] for offset, length in place.extents)


class _Fields:
    """Reads numbers from the body of a box one after the other. The body begins with a version and flags."""

    def __init__(self, body: bytes):
        self._body = body
        self._position = 4
        self.version = body[0]
        self.flags = body[3]

    def number(self, size: int) -> int:
        """Read a number of `size` bytes, which can be 0."""
        start, self._position = self._position, self._position + size
        if self._position > len(self._body):
            raise HeifError("a table ends early")
        return int.from_bytes(self._body[start : self._position], "big")

    def rest(self) -> bytes:
        return self._body[self._position :]

    def primary(self) -> int:
        """Read the box `pitm`."""
        return self.number(4 if self.version else 2)

    def kinds(self) -> dict[int, bytes]:
        """Read the box `iinf`: the kind of each item."""
        self.number(4 if self.version else 2)
        found = {}
        for kind, body in _boxes(self.rest()):
            if kind == b"infe":
                entry = _Fields(body)
                item = entry.number(4 if entry.version > 2 else 2)
                found[item] = entry.rest()[2:6]  # after a protection index
        return found

    def references(self) -> list[Reference]:
        """Read the box `iref`."""
        size = 4 if self.version else 2
        found = []
        for kind, body in _boxes(self.rest()):
            entry = _Fields(b"\0\0\0\0" + body)
            source, count = entry.number(size), entry.number(2)
            found.append(Reference(kind, source, tuple(entry.number(size) for _ in range(count))))
        return found

    def locations(self) -> dict[int, _Location]:
        """Read the box `iloc`."""
        sizes = self.number(2)
        offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
        index_size = sizes & 15 if self.version else 0
        if not length_size:
            raise HeifError("an item has no length")
        found = {}
        for _ in range(self.number(4 if self.version > 1 else 2)):
            item = self.number(4 if self.version > 1 else 2)
            method = self.number(2) & 15 if self.version else IN_FILE
            self.number(2)  # data reference
            base = self.number(base_size)
            extents = []
            for _ in range(self.number(2)):
                self.number(index_size)
                extents.append((base + self.number(offset_size), self.number(length_size)))
            found[item] = _Location(method, tuple(extents))
        return found

    def associations(self) -> Iterator[tuple[int, list[int]]]:
        """Read a box `ipma`: the numbers of each item's properties, from 1."""
        size = 2 if self.flags & 1 else 1
        for _ in range(self.number(4)):
            item = self.number(4 if self.version else 2)
            mask = (1 << 8 * size - 1) - 1  # the first bit says whether a reader must know the property
            yield item, [self.number(size) & mask for _ in range(self.number(1))]


def _properties(body: bytes) -> dict[int, list[Property]]:
    """Read the box `iprp`: the properties of each item."""
    boxes = _boxes_by_kind(body)
    known = [Property(kind, data) for kind, data in _boxes(boxes[b"ipco"][0])]
    found: dict[int, list[Property]] = defaultdict(list)
    for table in boxes[b"ipma"]:
        for item, numbers in _Fields(table).associations():
            found[item] += [known[number - 1] for number in numbers if number]
    return found


def _boxes_by_kind(data: bytes) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for kind, body in _boxes(data):
        found[kind].append(body)
    return found


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the body of each box."""
    start = 0
    while header := parse_header(data, start):
        end = start + header.size if header.size else len(data)
        if end > len(data):
            raise HeifError("a box ends after the file")
        yield header.kind, data[start + header.length : end]
        start = end
