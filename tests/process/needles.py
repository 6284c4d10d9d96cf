"""The forms in which a secret could lie in a file or on a wire, and a search for all of them."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def forms_of(secret: str | bytes) -> dict[str, bytes]:
    """How the secret would look, plain or encoded with whatever stands before and behind it.

    Base64 has three alignments. Of each the characters that depend on the neighbours are left out, so that any text
    that contains the secret, encoded as a whole, contains one of the three.
    """
    if isinstance(secret, str):
        raw = secret.encode()
        wide = {encoding: secret.encode(encoding) for encoding in ("utf-16-le", "utf-16-be")}
        forms = {"utf-8": raw} | wide
    else:
        raw = secret
        forms = {"raw": raw}
    forms |= {"hex": raw.hex().encode(), "HEX": raw.hex().upper().encode()}
    for before in range(3):
        end = (before + len(raw)) // 3 * 4  # the last group is whole, or left out
        start = (0, 2, 3)[before]
        for name, encode in (("base64", b64encode), ("base64url", urlsafe_b64encode)):
            forms[f"{name}+{before}"] = encode(bytes(before) + raw)[start:end]
    return forms


def found_in(haystacks: Mapping[str, bytes], secrets: Iterable[str | bytes]) -> list[str]:
    """Where which secret was found, in which form; empty is what one hopes for."""
    return [
        f"{secret!r} as {form} in {place}"
        for secret in secrets
        for form, needle in forms_of(secret).items()
        for place, haystack in haystacks.items()
        if needle in haystack
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
