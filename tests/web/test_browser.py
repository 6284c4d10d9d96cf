"""The means of the tests with a browser: what fails within them fails, and hangs nothing."""

from __future__ import annotations

import threading
from urllib.request import urlopen

import pytest

from tests.web.browser import pages


def test_the_pages_are_served_and_their_server_ends_with_them() -> None:
    before = set(threading.enumerate())

    with pages() as address, urlopen(f"{address}/web/package.json") as answer:
        assert answer.status == 200
        assert all(thread.daemon for thread in set(threading.enumerate()) - before)

    assert set(threading.enumerate()) <= before


def test_a_browser_that_does_not_start_leaves_no_server_behind() -> None:
    before = set(threading.enumerate())

    with pytest.raises(RuntimeError, match="does not start"), pages():
        raise RuntimeError("the browser does not start")

    assert set(threading.enumerate()) <= before
