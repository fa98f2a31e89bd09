"""The headers of a parquet file's pages: what each of them really unpacks to, whatever the file's metadata say.

A reader makes room for a page by its header, and checks what it unpacks against that. Headers are Thrift structs in
the compact protocol, between the pages' bytes; `pyarrow` shows none of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

DICTIONARY_PAGE = 2
BY_DICTIONARY = {2, 8}  # encodings whose values are places in the dictionary page
DEEPEST = 8  # of structs in a header; the format's own have three


class Page(NamedTuple):
    """A page: its bytes unpacked, its number of values, whether it is the dictionary, whether it refers to that."""

    unpacked: int
    values: int
    is_dictionary: bool
    refers: bool


def pages(path: Path, start: int, length: int) -> Iterator[Page]:
    """The pages of a column chunk of so many bytes; raises ValueError where their headers can't be read."""
    with path.open("rb") as file:
        place = start
        while place < start + length:
            file.seek(place)
            header = struct(file)
            unpacked, packed = (header.get(number, 0) for number in (2, 3))
            about: dict[int, Any] = next((header[number] for number in (5, 8, 7) if number in header), {})
            refers = about.get(4 if 8 in header else 2) in BY_DICTIONARY and header.get(1) != DICTIONARY_PAGE
            values = about.get(1, 0)
            if min(unpacked, packed, values) < 0:
                raise ValueError("a page of less than nothing")
            yield Page(unpacked, values, header.get(1) == DICTIONARY_PAGE, refers)
            place = file.tell() + packed


def struct(file: BinaryIO, depth: int = DEEPEST) -> dict[int, Any]:
    """A struct's fields by their numbers; of texts and lists nothing but their room is read."""
    fields: dict[int, Any] = {}
    number = 0
    while head := byte(file):
        number = number + (head >> 4) if head >> 4 else zigzag(file)
        fields[number] = value(file, head & 15, depth)
    return fields


def value(file: BinaryIO, kind: int, depth: int) -> Any:
    """One value of a kind; None where it is passed over."""
    if kind in (1, 2):
        return kind == 1
    if kind == 3:
        return byte(file)
    if kind in (4, 5, 6):
        return zigzag(file)
    if kind in (7, 8):
        file.seek(8 if kind == 7 else varint(file), 1)
        return None
    if kind == 12 and depth:
        return struct(file, depth - 1)
    raise ValueError("a page header of another form")  # lists and maps are in none


def zigzag(file: BinaryIO) -> int:
    """A whole number with its sign in the lowest bit."""
    number = varint(file)
    return (number >> 1) ^ -(number & 1)


def varint(file: BinaryIO) -> int:
    """A whole number of seven bits a byte, the lowest first."""
    number = 0
    for place in range(0, 70, 7):
        part = byte(file)
        number |= (part & 127) << place
        if part < 128:
            return number
    raise ValueError("a number of more than 64 bits")


def byte(file: BinaryIO) -> int:
    """The next byte."""
    found = file.read(1)
    if not found:
        raise ValueError("a page header that ends too early")
    return found[0]
