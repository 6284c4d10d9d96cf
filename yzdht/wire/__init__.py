"""Bytes to types and back. Pure; every decoder treats its input as hostile."""
