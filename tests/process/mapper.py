"""A router's NAT-PMP service (RFC 6886) that sets real rules: `mapper.py OWN_ADDRESS HOME_ADDRESS NFT`.

Ends when it is killed. It speaks no PCP, as most small routers, maps TCP ports alone, and forgets at lifetime 0.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys


_PORT = 5351
_MAP_TCP = 2
_UNSUPPORTED_VERSION = 1


def serve(own: str, home: str, nft: str) -> None:
    """Answer for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((own, _PORT))
        print("serving", flush=True)  # noqa: T201 - whoever started it waits for this
        while True:
            request, asker = sock.recvfrom(1_100)
            version, code = request[:2]
            if version != 0 or code != _MAP_TCP:
                sock.sendto(struct.pack("!BBHI", 0, 0x80 | code, _UNSUPPORTED_VERSION, 0), asker)
                continue
            inside, outside, life_s = struct.unpack_from("!HHI", request, 4)
            subprocess.run([nft, "flush chain ip nat in"], check=True)
            if life_s:
                rule = f'iifname "wan" tcp dport {outside} dnat to {home}:{inside}'
                subprocess.run([nft, f"add rule ip nat in {rule}"], check=True)
            sock.sendto(struct.pack("!BBHIHHI", 0, 0x82, 0, 0, inside, outside, life_s), asker)


if __name__ == "__main__":
    serve(*sys.argv[1:])
