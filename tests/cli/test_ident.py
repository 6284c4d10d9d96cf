from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import Person, Terminal
from yzdht import Identity
from yzdht.errors import WrongPassphrase


if TYPE_CHECKING:
    from pathlib import Path


PHRASE = re.compile(r"[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3}")


def shown(person: Person) -> dict[str, object]:
    return person.yz("--json", "id", "show").object


def test_an_identity_is_made_on_first_use_and_stays(offline: Person) -> None:
    first = offline.yz("id", "show")
    view = shown(offline)

    assert first.code == 0
    assert f"a new identity was made, {view['fingerprint']}, in " in first.stderr
    assert first.text.splitlines() == [
        f"fingerprint  {view['fingerprint']}",
        f"node id      {view['nodeId']}",
        f"public key   {view['publicKey']}",
        f"file         {offline.home / 'identity.key'}, under no passphrase",
    ]
    assert list(view) == ["fingerprint", "nodeId", "publicKey", "file", "passphrase"]
    assert view["passphrase"] is False
    assert stat.S_IMODE((offline.home / "identity.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(offline.home.stat().st_mode) == 0o700


def test_the_home_comes_from_the_option_the_environment_or_the_system(tmp_path: Path) -> None:
    by_system = Person(tmp_path / "x", extra={"XDG_CONFIG_HOME": str(tmp_path / "config")})
    by_system.command = lambda *words: ["yz", *words]  # type: ignore[method-assign] # no --home
    by_system.extra["PATH"] = _path_of_yz()
    by_environment = Person(tmp_path / "x", extra={**by_system.extra, "YZ_HOME": str(tmp_path / "named")})
    by_environment.command = by_system.command  # type: ignore[method-assign] # as above

    assert shown(by_system)["file"] == str(tmp_path / "config" / "yz" / "identity.key")
    assert shown(by_environment)["file"] == str(tmp_path / "named" / "identity.key")
    assert shown(Person(tmp_path / "option", extra=by_environment.extra))["file"] == str(
        tmp_path / "option" / "identity.key"
    )


def _path_of_yz() -> str:
    from pathlib import Path  # noqa: PLC0415 - the name is for types only above

    from tests.cli.programs import YZ  # noqa: PLC0415 - as above

    return str(Path(YZ).parent)


def test_a_new_identity_never_replaces_one_unless_told_to(offline: Person) -> None:
    old = offline.yz("--json", "id", "new").object
    refused = offline.yz("id", "new")

    assert old["kept"] is None
    assert refused.code == 1
    assert "holds an identity already" in refused.stderr
    assert "--force" in refused.stderr
    assert shown(offline)["nodeId"] == old["nodeId"]

    forced = offline.yz("id", "new", "--force")
    [kept] = offline.home.glob("identity.key.*.bak")

    assert f"the identity before is kept as {kept}" in forced.stderr
    assert re.fullmatch(r"identity\.key\.\d{8}T\d{6}Z\.bak", kept.name)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert Identity.load(kept).node_id.hex() == old["nodeId"] != shown(offline)["nodeId"]


def test_two_identities_put_aside_in_one_second_are_both_kept(offline: Person) -> None:
    kept = {offline.yz("--json", "id", "new", "--force").object["kept"] for _ in range(3)}

    assert len(kept) == 3
    assert {str(path) for path in offline.home.glob("*.bak")} == kept - {None}


def test_an_export_is_read_by_import_with_its_phrase(offline: Person, tmp_path: Path) -> None:
    me = shown(offline)
    exported = offline.yz("id", "export")
    path = tmp_path / f"yz-identity-{me['fingerprint']}.key"

    assert exported.text == f"{path.name}\n"
    [phrase] = [line.removeprefix("phrase: ") for line in exported.stderr.splitlines() if "phrase: " in line]
    assert PHRASE.fullmatch(phrase)
    assert path.read_bytes()[:5] == b"YZK1\x02"
    assert offline.yz("id", "export").code == 1

    other = Person(tmp_path / "other")
    wrong = other.yz("--passphrase-fd", "{fd0}", "id", "import", path.name, passphrases=["wrong"])
    none = other.yz("id", "import", path.name)
    assert (wrong.code, none.code) == (5, 5)
    assert "--passphrase-fd" in none.stderr
    assert not other.home.exists()

    right = other.yz("--json", "--passphrase-fd", "{fd0}", "id", "import", path.name, passphrases=[phrase])
    assert right.code == 0
    assert right.object == {**me, "file": str(other.home / "identity.key"), "kept": None}


def test_an_export_for_programs_is_a_file_and_its_phrase(offline: Person, tmp_path: Path) -> None:
    exported = offline.yz("id", "export", "-o", "copy", "--json")

    assert exported.stderr == ""
    assert exported.object.keys() == {"file", "phrase"}
    assert exported.object["file"] == "copy"
    data = (tmp_path / "copy").read_bytes()
    assert Identity.import_bytes(data, exported.object["phrase"]).node_id.hex() == shown(offline)["nodeId"]
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


def test_an_export_goes_to_stdout_on_request(offline: Person) -> None:
    exported = offline.yz("id", "export", "-o", "-")

    assert exported.stdout[:5] == b"YZK1\x02"
    assert "phrase: " in exported.stderr
    assert offline.yz("--json", "id", "export", "-o", "-").code == 2


def test_an_import_never_replaces_an_identity_unless_told_to(offline: Person, tmp_path: Path) -> None:
    me = shown(offline)
    other = Person(tmp_path / "other")
    theirs = shown(other)
    keyfile = str(other.home / "identity.key")

    assert offline.yz("id", "import", keyfile).code == 1
    forced = offline.yz("--json", "id", "import", keyfile, "--force").object

    assert forced["nodeId"] == theirs["nodeId"]
    [kept] = offline.home.glob("identity.key.*.bak")
    assert forced["kept"] == str(kept)
    assert Identity.load(kept).node_id.hex() == me["nodeId"]


@pytest.mark.parametrize(
    ("raw", "code", "error"),
    [(None, 2, "there is no file"), (b"hello", 1, "is not an export"), (b"x" * 70_000, 1, "is longer than")],
)
def test_what_is_no_export_is_refused(
    offline: Person, tmp_path: Path, raw: bytes | None, code: int, error: str
) -> None:
    if raw is not None:
        (tmp_path / "file").write_bytes(raw)

    refused = offline.yz("id", "import", "file")

    assert (refused.code, error in refused.stderr) == (code, True), refused
    assert not offline.home.exists()


def test_an_unprotected_keyfile_that_others_can_read_is_not_imported(offline: Person, tmp_path: Path) -> None:
    Identity.create(tmp_path / "file")
    (tmp_path / "file").chmod(0o644)

    refused = offline.yz("id", "import", "file")

    assert refused.code == 5
    assert "chmod 600" in refused.stderr


def test_a_passphrase_is_set_changed_and_removed(offline: Person, tmp_path: Path) -> None:
    me = shown(offline)
    with_new = ("id", "passphrase", "--new-passphrase-fd")

    assert "the passphrase is set" in offline.yz(*with_new, "{fd0}", passphrases=["one"]).stderr
    locked = offline.yz("id", "show")
    assert locked.code == 5
    assert "run it on a terminal, use --passphrase-fd N" in locked.stderr
    assert offline.yz("--passphrase-fd", "{fd0}", "id", "show", passphrases=["two"]).code == 5
    opened = offline.yz("--passphrase-fd", "{fd0}", "--json", "id", "show", passphrases=["one"])
    assert opened.object == {**me, "passphrase": True}

    changed = offline.yz("--passphrase-fd", "{fd0}", *with_new, "{fd1}", passphrases=["one", "two"])
    assert changed.code == 0
    with pytest.raises(WrongPassphrase):
        Identity.load(offline.home / "identity.key", "one")

    (tmp_path / "yz-passphrase").write_text("two\n")
    by_credential = Person(offline.home, extra={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    removed = by_credential.yz("--json", "id", "passphrase", "--remove")
    assert removed.object == me
    assert shown(offline) == me
    assert offline.yz("id", "passphrase", "--remove", "--new-passphrase-fd", "0").code == 2
    assert offline.yz("id", "passphrase").code == 5


def test_passphrases_are_asked_for_on_a_terminal_and_not_shown(offline: Person, tmp_path: Path) -> None:
    me = shown(offline)

    def on_terminal(*words: str) -> Terminal:
        return Terminal(offline.command(*words), offline.environment(), tmp_path)

    with on_terminal("id", "passphrase") as terminal:
        terminal.answer("new passphrase: ", "open sesame")
        terminal.answer("the same again: ", "open sesam")
        assert terminal.end() == 2
        assert "the two passphrases differ" in terminal.shown
    assert shown(offline) == me
    with on_terminal("id", "passphrase") as terminal:
        terminal.answer("new passphrase: ", "open sesame")
        terminal.answer("the same again: ", "open sesame")
        assert terminal.end() == 0
        assert "open sesame" not in terminal.shown
    with on_terminal("id", "show") as terminal:
        terminal.answer("passphrase of ", "open sesame")
        assert terminal.end() == 0
        assert str(me["nodeId"]) in terminal.shown
        assert "under a passphrase" in terminal.shown
    with on_terminal("id", "show") as terminal:
        terminal.expect("passphrase of ")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.shown
