"""Spans of time."""

from __future__ import annotations


# Time

MINUTE_S = 60
HOUR_S = 3_600
DAY_S = 86_400
