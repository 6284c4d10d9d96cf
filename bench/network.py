"""CPU and latency of 60 nodes in one process, ours sealed and signed beside the kademlia package in plaintext.

Each network has a process of its own, whose CPU seconds are thus those of the whole network, writers and readers
included. Ours is shown with and without waiting for the disk at each commit, and in memory, where kademlia keeps its
values. What is measured, and how, is in bench/kit/trial.py. Nodes are killed by closing their sockets without a word.
Run: make bench, or python bench/network.py.
"""

from __future__ import annotations

from bench.kit import trial


def main() -> None:
    trial.run("all in one process", trial.parse_options(__doc__ or "", rounds=5, count=120), is_forked=False)


if __name__ == "__main__":
    main()
