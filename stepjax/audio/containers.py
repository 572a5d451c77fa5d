"""What a recording's container says of its own size, against what is there.

libsndfile reads what is left of a broken file and does not tell. So the sizes in the headers are
compared with the file here, before a sample is decoded:

    WAV, RF64, AIFF   a row of chunks: a name, a size, as many bytes; one holds the samples
    AU, NIST SPHERE   one size in the header, samples up to the end
    Ogg               a row of pages, each with a checksum; the last one is marked
    MP3               a row of frames; a first one (Xing) may tell how many there are
    FLAC              a row of blocks; the first one counts samples, and the decoder checks frames
"""

import functools
import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

HEADER = 1024  # bytes: with these, few headers need more
STREAMED = 0x7FFFF000  # bytes: programs that write to a pipe put this or more for "not known yet"


class Extent(NamedTuple):
    """Bytes of samples: how many there are, and how many the header tells of."""

    present: int
    declared: int
    unsized: int | None = None  # where they begin, if a WAV header says 0 although there are some


class Broken(ValueError):
    """A container that contradicts itself; the message is a reason to leave the recording out."""


def extent(file: int, status: os.stat_result) -> Extent | None:
    """How much of a file is samples; None if only a decoder knows.

    Args:   file: its descriptor, the position of which stays as it is.
    Raises: Broken; OSError.
    """
    start = os.pread(file, HEADER, 0)
    if start[:4] in CHUNKED:
        return _chunked(file, start, status.st_size)
    if start[:4] in (b".snd", b"dns."):
        return _au(start, status.st_size)
    if start[:4] == b"fLaC":
        return _check_blocks(file, status.st_size)
    if start[:7] == b"NIST_1A":
        return _sphere(start, status.st_size)
    check = _check_pages if start[:4] == b"OggS" else _check_frames
    if check is _check_pages or start[:3] == b"ID3" or start[:1] == b"\xff":
        which = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        if which not in _whole:  # a long recording is read in many parts, and checked once
            check(os.pread(file, status.st_size, 0))
            _whole.add(which)
    return None


_whole: set[tuple[int, ...]] = set()  # files that were checked


OTHERS = {  # how files begin that are often given as recordings, and what they are
    rb"....ftyp": "format MP4: it is not read; convert it to WAV or FLAC",
    rb"\x1aE\xdf\xa3": "format WebM: it is not read; convert it to WAV or FLAC",
    rb"0&\xb2u\x8ef\xcf\x11": "format WMA: it is not read; convert it to WAV or FLAC",
    rb"#!AMR": "format AMR: it is not read; convert it to WAV or FLAC",
    rb"\xff[\xf0\xf1\xf8\xf9]": "format AAC: it is not read; convert it to WAV or FLAC",
    rb"\s*<(?i:!doctype|html|\?xml)": "no recording: it is a web page",
    rb"version https://git-lfs": "no recording: it is Git LFS's note of one that was not fetched",
}


def not_read(path: str | os.PathLike) -> str:
    """Why a file that begins like none of the formats that are read cannot be used."""
    with open(path, "rb") as file:
        start = file.read(HEADER)
    for begins, what in OTHERS.items():
        if re.match(begins, start, re.DOTALL):
            return what
    return "no header: it begins like none of the formats that are read; convert it"


def sized(content: bytes, extent: Extent) -> io.BytesIO:
    """A WAV file with the true size of its samples in the header."""
    assert extent.unsized
    size = extent.present.to_bytes(4, "big" if content[:4] == b"RIFX" else "little")
    return io.BytesIO(content[: extent.unsized - 4] + size + content[extent.unsized :])


# ---- formats with a size in the header

# first bytes -> how name and size of a chunk are written
CHUNKED = {b"RIFF": "<4sI", b"RF64": "<4sI", b"RIFX": ">4sI", b"FORM": ">4sI"}
FIRST_CHUNK = 12  # where it begins
SAMPLES = (b"data", b"SSND")
AU_HEADER = 24  # bytes
LAST_BLOCK = 0x80  # flag of FLAC


class Chunk(NamedTuple):
    name: bytes
    first: int  # the position of its first byte
    size: int

    @property
    def end(self) -> int:
        """Where the next one begins: sizes are filled up to even ones."""
        return self.first + self.size + self.size % 2


def _chunked(file: int, start: bytes, size: int) -> Extent | None:
    long_size = 0
    for chunk in _chunks(file, start, FIRST_CHUNK, size):
        if chunk.name == b"ds64":  # RF64 keeps sizes beyond 32 bits here
            long_size = int.from_bytes(os.pread(file, 8, chunk.first + 8), "little")
        if chunk.name in SAMPLES:
            return _samples(file, start, chunk._replace(size=long_size or chunk.size), size)
    return None


def _samples(file: int, start: bytes, chunk: Chunk, size: int) -> Extent:
    """The extent of the chunk that holds the samples."""
    there = size - chunk.first
    if chunk.size > there:
        return Extent(there, there if chunk.size >= STREAMED else chunk.size)
    end = chunk.end
    for behind in _chunks(file, start, end, size):
        end = behind.end
    loose = max(0, size - end)  # not in a chunk: then the size was wrong
    if not chunk.size and loose and chunk.name == b"data":
        return Extent(there, there, unsized=chunk.first)
    return Extent(chunk.size + loose, chunk.size)


def _chunks(file: int, start: bytes, position: int, size: int) -> Iterator[Chunk]:
    """The chunks from `position` on; that of the samples may say that it goes beyond the file."""
    layout = CHUNKED[start[:4]]
    while position + 8 <= size:
        known = position + 8 <= len(start)
        head = start[position : position + 8] if known else os.pread(file, 8, position)
        name, content = struct.unpack(layout, head)
        chunk = Chunk(name, position + 8, content)
        inside = chunk.first + chunk.size <= size and re.fullmatch(rb"[ -~]{4}", name)
        if not inside and name not in SAMPLES:
            return
        yield chunk
        position = chunk.end


def _au(start: bytes, size: int) -> Extent:
    if len(start) < AU_HEADER:
        raise Broken("breaks off: its header is not whole")
    first, declared = struct.unpack((">" if start[:1] == b"." else "<") + "II", start[4:12])
    there = max(0, size - first)
    return Extent(there, there if declared >= STREAMED else declared)


def _sphere(header: bytes, size: int) -> Extent | None:
    """Its header is text: a line for each field, the kind of its value and the value."""
    fields = dict(re.findall(rb"^(\w+) -i (\d+)", header, re.MULTILINE))
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if not all(name in fields for name in names):
        return None
    count, channels, width = (int(fields[name]) for name in names)
    first = re.match(rb"NIST_1A\n *(\d+)\n", header)
    there = max(0, size - int(first[1])) if first else size
    return Extent(there, count * channels * width)


def _check_blocks(file: int, size: int) -> None:
    """Raises Broken, unless the blocks before the first frame of a FLAC file are whole."""
    position, last = 4, False
    while not last:
        head = os.pread(file, 4, position)
        position += 4 + int.from_bytes(head[1:], "big")
        if len(head) < 4 or position > size:
            raise Broken("breaks off: its header is not whole")
        last = head[0] >= LAST_BLOCK


# ---- Ogg: pages (RFC 3533)

FIRST_PAGE, LAST_PAGE = 2, 4  # flags
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _check_pages(content: bytes) -> None:
    """Raises Broken, unless the pages are whole and belong to one stream that comes to its end."""
    position, streams, ended = 0, 0, False
    while content[position : position + 4] == b"OggS":
        count = int.from_bytes(content[position + 26 : position + 27])
        segments = content[position + 27 : position + 27 + count]
        end = position + 27 + count + sum(segments)
        if end > len(content):
            raise Broken(f"breaks off: its last Ogg page, at byte {position}, is not whole")
        page = content[position:end]
        if _ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
            raise Broken(f"damaged: the Ogg page at byte {position} does not fit its checksum")
        streams += page[5] & FIRST_PAGE != 0
        ended = page[5] & LAST_PAGE != 0
        position = end
    if not ended and position < len(content):
        raise Broken(f"damaged: an Ogg page should begin at byte {position}")
    if not ended:
        raise Broken("breaks off: its last Ogg page is missing")
    if streams > 1:
        raise Broken(f"several: {streams} Ogg streams in one file; only the first would be read")


def _ogg_checksum(page: bytes) -> int:
    """zlib's CRC with the bits of each byte, and of the result, in the other order.

    It starts at 0 and counts the checksum's own bytes as zeros.
    """
    page = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


# ---- MP3: frames (ISO 11172-3, 13818-3), layer III

RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
KBITS = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what may follow the frames


def _check_frames(content: bytes) -> None:
    """Raises Broken if nothing tells how many frames there are and the decoder would guess wrong.

    With a Xing frame the decoder knows, and the caller sees whether it finds as much. Without one
    it divides the size of the file by that of the first frame.
    """
    position = _behind_id3(content)
    length, kbits = _frame(content[position : position + 4])
    head = content[position : position + 64]
    if not length or b"Xing" in head or b"Info" in head or b"VBRI" in head:
        return
    seen = set()
    while position < len(content) and not content.startswith(TAGS, position):
        length, kbits = _frame(content[position : position + 4])
        if not length:
            raise Broken(f"damaged: an MP3 frame should begin at byte {position}")
        if position + length > len(content):
            raise Broken("breaks off: its last MP3 frame is not whole")
        seen.add(kbits)
        position += length
    if len(seen) > 1:
        raise Broken("no length: its MP3 frames vary in size and no Xing frame counts them")


def _behind_id3(content: bytes) -> int:
    if content[:3] != b"ID3" or len(content) < 10:
        return 0
    return 10 + functools.reduce(lambda size, seven: size << 7 | seven & 0x7F, content[6:10], 0)


def _frame(header: bytes) -> tuple[int, int]:
    """Bytes of a frame and its kbit/s, or zeros if this is no header of a frame of layer III."""
    bits = int.from_bytes(header, "big")
    version, layer = bits >> 19 & 3, bits >> 17 & 3
    bitrate, rate = bits >> 12 & 15, bits >> 10 & 3
    if bits >> 21 != 0x7FF or version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return 0, 0
    kbits = KBITS[3 if version == 3 else 2][bitrate - 1]
    samples_per_byte = 144 if version == 3 else 72
    return samples_per_byte * 1000 * kbits // RATES[version][rate] + (bits >> 9 & 1), kbits
