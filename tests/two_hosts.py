"""Two hosts in one: network namespaces joined by a wire, where they may be made; else two folders.

Each has a working folder of its own; the disk is one.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.kills.processes import free_port

__all__ = ["Hosts", "two_hosts"]

NETWORK = "10.213.77"


class Hosts:
    """Where two processes run that share a training.

    Args:
        folder: of their working folders.
        names: of their network namespaces; none, where both are in that of this process.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self.folder, self.names = folder, names

    def start(
        self, arguments: Sequence[str], environment: Sequence[dict[str, str]] = ({}, {})
    ) -> list[subprocess.Popen[str]]:
        """The same Python command on both."""
        address = f"{NETWORK}.1" if self.names else "127.0.0.1"
        shared = {
            "WORLD_SIZE": "2", "MASTER_ADDR": address, "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        started = []
        for rank, own in enumerate(environment):
            home = self.folder / f"host-{rank}"
            home.mkdir(parents=True, exist_ok=True)
            words = [sys.executable, *arguments]
            if self.names:
                words = ["ip", "netns", "exec", self.names[rank], *words]
                own = own | {"GLOO_SOCKET_IFNAME": f"w{self.names[rank]}"}
            place = {"RANK": str(rank), "LOCAL_RANK": "0"}  # each is the first of its host
            started.append(
                subprocess.Popen(
                    words,
                    env=os.environ | shared | place | own,
                    cwd=home,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
        return started


@contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    """Two hosts, in namespaces if they can be had (as root, with `ip` of iproute2)."""
    names = [f"tc{os.getpid()}{letter}" for letter in "ab"]
    try:
        yield Hosts(folder, names if join(names) else ())
    finally:
        for name in names:
            ip("netns", "del", name)


def join(names: Sequence[str]) -> bool:
    """Make two namespaces with a wire between them; whether that could be done."""
    first, second = names
    wires = f"w{first}", f"w{second}"
    return (
        all(ip("netns", "add", name) for name in names)
        and ip("link", "add", wires[0], "type", "veth", "peer", "name", wires[1])
        and all(
            ip("link", "set", wire, "netns", name)
            and ip("-n", name, "addr", "add", f"{NETWORK}.{number}/24", "dev", wire)
            and ip("-n", name, "link", "set", wire, "up")
            and ip("-n", name, "link", "set", "lo", "up")
            for number, (name, wire) in enumerate(zip(names, wires), start=1)
        )
    )


def ip(*arguments: str) -> bool:
    """Whether `ip` did it."""
    try:
        return subprocess.run(["ip", *arguments], capture_output=True).returncode == 0
    except OSError:
        return False
