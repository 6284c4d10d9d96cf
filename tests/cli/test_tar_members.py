"""The files of a tar: what is read of it agrees with Python's own reader, and everything else is refused."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, strategies as st

from yzdht.cli.tar_members import Header, NoTarError, TarMembers, decode_header


BLOCK_BYTES = 512
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]


def header(size: int = 0, kind: bytes = tarfile.REGTYPE, name: str = "part/name") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def with_sum(block: bytearray) -> bytes:
    """A header as it would be if what was changed in it had always been there."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("form", FORMATS)
@given(contents=st.lists(st.binary(max_size=2_000), max_size=4))
def test_what_tarfile_writes_comes_back(form: int, contents: list[bytes]) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(f"part/{number}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

    members, found = TarMembers(file), []
    while (member_read := members.next()) is not None:
        name, read = member_read
        found.append((name, read.read(10) + read.read(5_000) + read.read(1)))

    assert found == [(f"part/{number}".encode(), content) for number, content in enumerate(contents)]


def test_who_leaves_content_unread_gets_the_next_file_all_the_same() -> None:
    members = TarMembers(io.BytesIO(header(600) + bytes(1_024) + header(1, name="next") + b"x".ljust(512)))

    assert members.next() is not None
    found = members.next()
    assert found is not None
    assert (found[0], found[1].read(9)) == (b"next", b"x")


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 2**45])
def test_sizes_above_eight_gibibytes_are_numbers_too(size: int) -> None:
    assert decode_header(header(size)) == Header(b"part/name", size)


@pytest.mark.parametrize("kind", [bytes((kind,)) for kind in b"1234567DKLMNSVXgxA"])
def test_only_plain_files_are_read(kind: bytes) -> None:
    with pytest.raises(NoTarError, match="plain file"):
        decode_header(header(kind=kind))


def test_a_file_ends_inside_the_tar() -> None:
    with pytest.raises(NoTarError, match="inside the tar"):
        TarMembers(io.BytesIO(header(513) + bytes(512))).next()


@pytest.mark.parametrize(
    "field", [b"9" * 12, b"-1".ljust(12, b"\0"), b"\xff" * 12, bytes(12), b"1_0".ljust(12)]
)
def test_a_size_that_is_no_number_is_refused(field: bytes) -> None:
    block = bytearray(header())
    block[124:136] = field

    with pytest.raises(NoTarError, match="number"):
        decode_header(with_sum(block))


@given(at=st.integers(0, BLOCK_BYTES - 1), byte=st.integers(0, 255), size=st.integers(0, BLOCK_BYTES))
def test_a_header_that_was_changed_or_cut_is_refused(at: int, byte: int, size: int) -> None:
    block = bytearray(header(7))
    block[at] = byte
    if not 148 <= at < 156 and bytes(block) != header(
        7
    ):  # within the sum itself it can be written in several ways
        with pytest.raises(NoTarError):
            decode_header(bytes(block))
    if size < BLOCK_BYTES:
        with pytest.raises(NoTarError, match="too early"):
            decode_header(header()[:size])


@given(block=st.binary(min_size=BLOCK_BYTES, max_size=BLOCK_BYTES))
def test_nothing_else_leaves_it(block: bytes) -> None:
    for raw in (block, with_sum(bytearray(block))):
        try:
            found = decode_header(raw)
        except NoTarError:
            continue
        assert found is None or found.size >= 0
