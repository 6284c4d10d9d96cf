"""Errors of the world's: files and sockets."""

from __future__ import annotations

from yzdht.errors.tree import ExitCode, StoreError, TransportError


class DataLocked(StoreError):
    """Another process holds this data folder."""

    default_hint = "stop the other node, or give this one its own folder with --data DIR"


class NewerFormat(StoreError):
    """A file was written by a newer version of yzdht."""

    default_hint = "upgrade yzdht; older versions never touch newer files"


class UnsafeFile(StoreError):
    """A file that holds secrets can be read by others, or a file or folder of ours changed by them."""

    exit_code = ExitCode.BAD_SIGNATURE
    default_hint = "run: chmod 600 on the file and chmod 700 on its folder"


class ListenFailed(TransportError):
    """The address cannot be listened on."""

    default_hint = "choose another --port, or stop what is using this one"


class DialFailed(TransportError):
    """A peer could not be reached at an address."""

    default_hint = "check that the node is running and that the address is right"


class NoOtherAddress(DialFailed):
    """A name has no IP address but those that were not to be dialled."""


class DialledTooOften(DialFailed):
    """An address that others named was not dialled, because it or too many were lately: that says nothing of who is there."""

    default_hint = "wait a few seconds"


class ReachedAnother(DialFailed):
    """Another node than the expected one answered at an address."""

    default_hint = "check the node id behind the # of the address"
