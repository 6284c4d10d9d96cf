"""CPU and latency of 60 nodes, each in a process of its own, forked from one import, beside the kademlia package.

What is measured, and how, is in bench/kit/trial.py; the processes are forked as those of `yz testnet` are, and the
killed ones get SIGKILL. All of them share the cores of this machine: latencies contain the turns that a process waits
for. Run: make bench, or python bench/forked.py.
"""

from __future__ import annotations

from bench.kit import contenders, trial


def main() -> None:
    options = trial.parse_options(__doc__ or "", rounds=3, count=60)
    # A forked network in memory would tell nothing that the others do not.
    chosen = tuple(c for c in options.contenders if c is not contenders.MEMORY) or options.contenders
    trial.run("a process each", options._replace(contenders=chosen), is_forked=True)


if __name__ == "__main__":
    main()
