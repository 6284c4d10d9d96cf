"""`yz backup` of a node that runs and of a home, and back."""

from __future__ import annotations

import io
import json
import sqlite3
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.cli.programs import NodeProcess, Person
from yzdht.cli.archive import Manifest, Source, copy_database, open_archive, write_archive
from yzdht.cli.backup import is_saved
from yzdht.errors import NewerFormat, StoreError
from yzdht.limits import BACKUP_MEMBERS_MAX
from yzdht.store.rows import RECORDS_SCHEMA
from yzdht.store.schema import open_database


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = pytest.mark.process


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def saved(node: NodeProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Person]:
    """A backup of the shared node while it runs, and of somebody's home; and who."""
    folder = tmp_path_factory.mktemp("saved")
    person = Person(folder / "home").at(node.url)
    assert person.yz("put", "note", stdin=b"kept").code == 0
    ran = person.yz("backup", "--data", str(node.data), "both.tar")
    assert ran.code == 0, ran.stderr
    assert ran.text == "both.tar\n"
    assert "whoever has this file has the keys in it" in ran.stderr
    assert "yz backup --restore --only node --data DIR both.tar" in ran.stderr
    return folder / "both.tar", person


# Saving


def test_a_backup_holds_what_a_node_and_a_person_need(saved: tuple[Path, Person]) -> None:
    path, _ = saved

    names = names_in(path)

    assert names[0] == "backup.json"
    assert {
        "node/version",
        "node/node.key",
        "node/records.sqlite",
        "home/identity.key",
        "home/marks.sqlite",
    } <= {*names}
    assert not {name for name in names if "lock" in name or "run" in name or "wal" in name}
    assert mode_of(path) == 0o600
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".tmp")] == []


def test_what_a_backup_leaves_out_is_said(
    node: NodeProcess, saved: tuple[Path, Person], tmp_path: Path
) -> None:
    _, owner = saved
    left_out = "not in it: the key file of a private network, and the settings file"

    assert left_out in owner.yz("backup", "--data", str(node.data), str(tmp_path / "both.tar")).stderr
    assert left_out not in owner.yz("backup", "--only", "home", str(tmp_path / "home.tar")).stderr


def test_parts_and_records_may_be_left_out(
    node: NodeProcess, saved: tuple[Path, Person], tmp_path: Path
) -> None:
    _, person = saved
    home, bare = tmp_path / "home.tar", tmp_path / "bare.tar"

    one = person.yz("--json", "backup", "--only", "home", str(home)).object
    person.yz("backup", "--only", "node", "--no-records", "--data", str(node.data), str(bare))

    assert names_in(home) == ["backup.json", "home/identity.key", "home/marks.sqlite"]
    assert "node/records.sqlite" not in names_in(bare)
    assert (one["data"], one["bytes"]) == (None, home.stat().st_size)
    assert [file["name"] for file in one["saved"]] == names_in(home)[1:]


def test_a_file_that_exists_is_replaced_only_if_told(saved: tuple[Path, Person], tmp_path: Path) -> None:
    _, person = saved
    path = tmp_path / "file.tar"
    path.write_text("precious")

    refused = person.yz("backup", "--only", "home", str(path))
    assert (refused.code, path.read_text()) == (1, "precious")
    assert "choose another FILE, or use --force" in refused.stderr
    assert person.yz("backup", "--only", "home", "--force", str(path)).code == 0
    assert (names_in(path)[0], mode_of(path)) == ("backup.json", 0o600)


def test_what_is_not_there_cannot_be_saved(offline: Person, tmp_path: Path) -> None:
    assert offline.yz("backup", "x.tar").code == 2
    assert offline.yz("backup", "--only", "home", "x.tar").code == 1
    assert offline.yz("backup", "--only", "node", "x.tar").code == 2
    assert "is not the data folder of a node" in offline.yz("backup", "--data", str(tmp_path), "x.tar").stderr
    assert not (tmp_path / "x.tar").exists()


def test_a_damaged_database_is_said_to_be_and_leaves_nothing(
    saved: tuple[Path, Person], tmp_path: Path
) -> None:
    _, person = saved
    copy = Person(tmp_path / "home")
    copy.home.mkdir(mode=0o700)
    for name in ("identity.key", "marks.sqlite"):
        (copy.home / name).write_bytes((person.home / name).read_bytes())
        (copy.home / name).chmod(0o600)
    (copy.home / "marks.sqlite").write_bytes(b"damaged" * 1_000)

    ran = copy.yz("backup", "--only", "home", "x.tar")

    assert ran.code == 1
    assert "marks.sqlite is damaged" in ran.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["home"]


def test_a_database_is_copied_as_of_one_moment_while_it_is_written(tmp_path: Path) -> None:
    writing = open_database(tmp_path / "source.sqlite", RECORDS_SCHEMA)
    writing.execute("CREATE TABLE filler (n INTEGER, text TEXT)")
    writing.execute("BEGIN")
    writing.executemany("INSERT INTO filler VALUES (?, ?)", [(n, "x" * 500) for n in range(2_000)])
    writing.execute("COMMIT")
    writing.execute("BEGIN IMMEDIATE")
    writing.execute("INSERT INTO filler VALUES (-1, 'not committed')")

    copy_database(tmp_path / "source.sqlite", tmp_path / "copy.sqlite")

    writing.execute("COMMIT")
    writing.close()
    copy = sqlite3.connect(tmp_path / "copy.sqlite")
    assert copy.execute("SELECT count(*), min(n) FROM filler").fetchone() == (2_000, 0)
    copy.close()
    assert mode_of(tmp_path / "copy.sqlite") == 0o600


# Restoring


def test_a_node_comes_back_as_itself(saved: tuple[Path, Person], node: NodeProcess, tmp_path: Path) -> None:
    path, person = saved
    ran = person.yz(
        "backup", "--restore", "--only", "node", "--data", str(tmp_path / "deep" / "data"), str(path)
    )

    assert ran.code == 0, ran.stderr
    assert f"yz-node --data {tmp_path / 'deep' / 'data'}" in ran.stderr
    assert mode_of(tmp_path / "deep" / "data") == 0o700
    with NodeProcess(tmp_path / "deep" / "data") as again:
        assert again.ready().node_id == node.node_id
        assert person.yz("--json", "status", "--http", again.view["http"]).object["records"]["count"] >= 1


def test_a_home_comes_back_and_reads_what_it_stored(
    saved: tuple[Path, Person], node: NodeProcess, tmp_path: Path
) -> None:
    path, person = saved
    again = Person(tmp_path / "home").at(node.url)

    assert again.yz("backup", "--restore", "--only", "home", str(path)).code == 0

    assert again.yz("get", "note").stdout == b"kept"
    assert mode_of(again.home / "identity.key") == 0o600
    first, second = (p.yz("--json", "id", "show").object["nodeId"] for p in (person, again))
    assert first == second
    assert sorted(p.name for p in again.home.iterdir() if "-" not in p.name) == [
        "identity.key",
        "marks.sqlite",
    ]


def test_a_member_of_a_closed_network_comes_back_as_one(tmp_path: Path) -> None:
    """Without its membership it would be a node of an open network."""
    owner = Person(tmp_path / "home", ("--network", "club"))
    data, path = tmp_path / "data", tmp_path / "all.tar"
    assert owner.yz("invite", "admit", str(data)).code == 0
    [membership] = data.glob("membership-*")
    (data / f"revoked-{8 * 'ab'}").write_bytes(b"as it is")
    (data / "invites.sqlite").write_bytes(b"an old ledger forgets")
    (owner.home / membership.name).write_bytes(membership.read_bytes())
    for kept in (data / f"revoked-{8 * 'ab'}", data / "invites.sqlite", owner.home / membership.name):
        kept.chmod(0o600)
    assert owner.yz("backup", "--data", str(data), str(path)).code == 0

    again = Person(tmp_path / "again" / "home")
    again.home.parent.mkdir()
    restored = again.yz("backup", "--restore", "--data", str(tmp_path / "restored"), str(path))

    assert restored.code == 0, restored.stderr
    assert not [name for name in names_in(path) if "invites" in name]
    assert (tmp_path / "restored" / membership.name).read_bytes() == membership.read_bytes()
    assert (again.home / membership.name).read_bytes() == membership.read_bytes()
    (tmp_path / "restored" / f"revoked-{8 * 'ab'}").unlink()
    with NodeProcess(tmp_path / "restored", "--network", "club") as node:
        node.ready()
        assert "closed network issuer=" in node.stderr
        stranger = Person(tmp_path / "mallory", ("--network", "club")).at(node.url).yz("get", "note")
    assert (stranger.code, "asks for an invite" in stranger.stderr) == (7, True), stranger.stderr


def test_a_home_comes_back_with_its_groups(person: Person, tmp_path: Path) -> None:
    path = tmp_path / "home.tar"
    assert person.yz("group", "create", "team").code == 0
    person.yz("put", "--group", "team", "plan", stdin=b"at nine")
    assert person.yz("backup", "--only", "home", str(path)).code == 0

    again = Person(tmp_path / "again", person.options)
    assert again.yz("backup", "--restore", "--only", "home", str(path)).code == 0

    assert again.yz("get", "--group", "team", "plan").stdout == b"at nine"


def test_a_backup_has_room_for_many_networks_and_an_end(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"")
    sources = [Source(f"home/membership-{number:016x}", source) for number in range(BACKUP_MEMBERS_MAX + 1)]
    about = Manifest(1, "1", 0, ())

    write_archive(tmp_path / "full.tar", sources[:-1], about, is_forced=False)
    with open_archive(tmp_path / "full.tar", is_saved) as archive:
        assert len(archive.manifest.files) == BACKUP_MEMBERS_MAX
    with pytest.raises(StoreError, match="a backup holds 256 files"):
        write_archive(tmp_path / "more.tar", sources, about, is_forced=False)
    assert not (tmp_path / "more.tar").exists()


def test_both_come_back_at_once(saved: tuple[Path, Person], tmp_path: Path) -> None:
    view = (
        Person(tmp_path / "home")
        .yz("--json", "backup", "--restore", "--data", str(tmp_path / "data"), str(saved[0]))
        .object
    )

    assert (view["data"], view["home"]) == (str(tmp_path / "data"), str(tmp_path / "home"))
    assert (tmp_path / "data" / "node.key").exists()


def test_nothing_is_ever_overwritten(saved: tuple[Path, Person], node: NodeProcess, tmp_path: Path) -> None:
    path, person = saved
    before = (person.home / "identity.key").read_bytes()
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("precious")

    for data in (str(node.data), str(taken), str(taken / "file")):
        assert person.yz("backup", "--restore", "--only", "node", "--data", data, str(path)).code in (1, 2)
    refused = person.yz("backup", "--restore", "--only", "home", str(path))

    assert refused.code == 1
    assert "is there already" in refused.stderr
    assert (person.home / "identity.key").read_bytes() == before
    assert (taken / "file").read_text() == "precious"
    assert person.yz("backup", "--restore", "--force", str(path)).code == 2


def test_a_node_goes_where_one_says_and_nowhere_else(
    saved: tuple[Path, Person], node: NodeProcess, tmp_path: Path
) -> None:
    ran = Person(tmp_path / "home").yz("--json", "backup", "--restore", str(saved[0]))

    assert ran.code == 2
    assert str(node.data) in ran.error["error"]
    assert "--data DIR" in ran.error["hint"]


def test_a_part_that_is_not_in_it_is_said_to_be_missing(saved: tuple[Path, Person], tmp_path: Path) -> None:
    home = tmp_path / "home.tar"
    saved[1].yz("backup", "--only", "home", str(home))

    ran = Person(tmp_path / "new").yz("backup", "--restore", "--only", "node", "--data", "x", str(home))

    assert (ran.code, "holds no node" in ran.stderr) == (2, True)


# Backups that are none


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return path


def manifest(**more: object) -> tuple[tarfile.TarInfo, bytes]:
    fields = {"format": 1, "version": "1", "createdAt": 1, "files": []} | more
    return tarfile.TarInfo("backup.json"), json.dumps(fields).encode()


def linked(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member, b""


def entry(name: str, size: int = 0) -> dict[str, object]:
    return {"name": name, "bytes": size, "sha256": "0" * 64}


HOSTILE: list[Callable[[Path], Path]] = [
    tar_of,
    lambda path: tar_of(path, (tarfile.TarInfo("node/node.key"), b"x")),
    lambda path: tar_of(path, (tarfile.TarInfo("backup.json"), b"[" * 100_000)),
    lambda path: tar_of(path, linked("backup.json", "/etc/hostname")),
    lambda path: tar_of(path, manifest(files=[entry("../evil")]), (tarfile.TarInfo("../evil"), b"")),
    lambda path: tar_of(path, manifest(files=[entry("/etc/evil")]), (tarfile.TarInfo("/etc/evil"), b"")),
    lambda path: tar_of(path, manifest(files=[entry("home/identity.key")]), linked("home/identity.key", "/etc/hostname")),
    lambda path: tar_of(path, manifest(files=[entry("home/identity.key")] * 2)),
    lambda path: tar_of(path, manifest(files=[entry("home/identity.key", 2)]), (tarfile.TarInfo("home/identity.key"), b"x")),
    lambda path: tar_of(path, manifest(files=[entry("home/identity.key", 1)]), (tarfile.TarInfo("home/identity.key"), b"x")),
    lambda path: tar_of(path, manifest(files=[entry("home/identity.key", 0)]), (tarfile.TarInfo("home/identity.key"), b"x")),
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing_of_its_own(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path / "evil.tar")
    (tmp_path / "home").mkdir()

    with pytest.raises(StoreError), open_archive(path, is_saved) as archive:
        archive.unpack({"home": tmp_path / "home"})

    assert {p.name for p in tmp_path.iterdir()} == {"evil.tar", "home"}
    assert {p.name for p in (tmp_path / "home").iterdir()} <= {"identity.key"}


LONG_NAME, EXTENDED, SPARSE = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE


def header(kind: bytes, size: int, name: str = "backup.json") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [LONG_NAME, EXTENDED, SPARSE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK])
def test_headers_that_would_be_read_whole_or_followed_one_to_the_next_are_refused(
    kind: bytes, tmp_path: Path
) -> None:
    chain, huge = tmp_path / "chain.tar", tmp_path / "huge.tar"
    chain.write_bytes((header(kind, 5) + b"aaaa".ljust(512, b"\0")) * 3_000)
    with huge.open("wb") as file:
        file.write(header(kind, 1 << 36))
        file.truncate(1 << 37)  # takes no room on the disk

    for path in (chain, huge):
        with pytest.raises(StoreError, match="is damaged"), open_archive(path, is_saved):
            pass


def test_a_manifest_without_an_end_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.tar"
    with path.open("wb") as file:
        file.write(header(tarfile.REGTYPE, 1 << 36))
        file.truncate(1 << 37)

    with pytest.raises(StoreError, match="is damaged"), open_archive(path, is_saved):
        pass


def test_a_newer_backup_wants_a_newer_version(tmp_path: Path) -> None:
    with pytest.raises(NewerFormat), open_archive(tar_of(tmp_path / "new.tar", manifest(format=2)), is_saved):
        pass


def test_a_damaged_backup_restores_nothing(saved: tuple[Path, Person], tmp_path: Path) -> None:
    raw = bytearray(saved[0].read_bytes())
    at = raw.rindex(b"home/identity.key") + 600  # inside what follows its header of 512 bytes
    raw[at] ^= 1
    (tmp_path / "flipped.tar").write_bytes(raw)

    ran = Person(tmp_path / "home").yz("backup", "--restore", "--only", "home", str(tmp_path / "flipped.tar"))

    assert (ran.code, "is damaged" in ran.stderr) == (1, True)
    assert list((tmp_path / "home").iterdir()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_make_anything_but_a_documented_error_leave(
    data: st.DataObject, saved: tuple[Path, Person], tmp_path: Path
) -> None:
    good = saved[0].read_bytes()
    where = data.draw(st.integers(0, min(len(good) - 1, 8_192)))
    cut = data.draw(st.integers(0, len(good)))
    path, out = tmp_path / "damaged.tar", tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    path.write_bytes((good[:where] + data.draw(st.binary(max_size=64)) + good[where:])[:cut])

    try:
        with open_archive(path, is_saved) as archive:
            archive.unpack({"home": out})
    except StoreError as error:
        assert error.hint  # noqa: PT017 - not every damage is one
