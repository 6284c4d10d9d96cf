"""Fixtures of whoever tests invites: a town, a home in it that invites, and one that is invited.

A plugin of the test modules that name it.
"""

from __future__ import annotations

import pytest

from tests.inviting import Host, Town


@pytest.fixture
def town() -> Town:
    """Replicas that all are there."""
    return Town()


@pytest.fixture
async def anna(town: Town) -> Host:
    """Who invites."""
    host = Host(town)
    await host.founds()
    return host


@pytest.fixture
def ben(town: Town) -> Host:
    """Who is invited."""
    return Host(town)
