"""Read the bits and the numbers of a NAL unit."""


class UnitBits:
    """The bits of a NAL unit, the most significant first. After its end all bits are 1, so that each number ends."""

    def __init__(self, data: bytes | memoryview):
        plain = bytes(data).replace(b"\0\0\3", b"\0\0")
        self._bits = "".join(f"{byte:08b}" for byte in plain)
        self._position = 0

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number."""
        start, self._position = self._position, self._position + count
        return int(self._bits[start : self._position].ljust(count, "1") or "0", 2)

    def number(self) -> int:
        """Return an Exp-Golomb number (9.1), which can stand for a signed one."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip(self, count: int) -> None:
        """Skip Exp-Golomb numbers."""
        for _ in range(count):
            self.number()
