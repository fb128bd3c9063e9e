"""What becomes of files: cut off, emptied, changed in one bit, or gone."""

import os
from pathlib import Path


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content, changed = bytearray(file.read_bytes()), file.stat().st_mtime_ns
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(changed, changed + 10**9))  # clocks of file systems are coarse, tests are not


def remove(file: Path) -> None:
    file.unlink()


DAMAGES = [cut, empty, flip, remove]
