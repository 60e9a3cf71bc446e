"""A disk of a few megabytes that can be filled to its last page, and emptied again."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["SmallDisk", "how_to_mount", "why_no_mount"]

INSIDE = "TORCHCAPS_KILLS_MOUNTS"  # set in the process whose mounts are its own


def how_to_mount() -> list[str]:
    """What goes before a command so that it may mount, and its mounts vanish with it; or nothing.

    Root gets a namespace of mounts; anybody else one of users too, where the system has those.
    """
    for options in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        words = ["unshare", *options, "--"]
        with suppress(OSError):
            if not subprocess.run([*words, "true"], capture_output=True).returncode:
                return words
    return []


def why_no_mount() -> str | None:
    """Why no small disk can be had here; None where it can."""
    if sys.platform != "linux":
        return "a small disk is a tmpfs, which Linux alone has"
    if not shutil.which("unshare") or not how_to_mount():
        return "nothing may be mounted here, not even with `unshare --user --mount`"
    return None


def enter_own_mounts() -> bool:
    """Begin this program anew where it may mount; whether it may.

    It comes back from here where it has, or where nothing may be mounted.
    """
    inside = INSIDE in os.environ
    if not inside and why_no_mount() is None:
        words = [*how_to_mount(), *sys.orig_argv]
        os.execvpe(words[0], words, os.environ | {INSIDE: "1"})
    return inside


class SmallDisk:
    """A tmpfs on a folder, which is made.

    Args:
        folder: where it is mounted.
        size: in bytes.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.ballast = folder, folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True
        )

    def fill(self, leave: int = 0) -> None:
        """Take all the room that is left, or all but so many bytes."""
        handle = os.open(self.ballast, os.O_WRONLY | os.O_CREAT)
        try:
            while room := self._room():
                with suppress(OSError):  # somebody else was faster
                    os.posix_fallocate(handle, os.fstat(handle).st_size, room)
            os.ftruncate(handle, os.fstat(handle).st_size - leave)
        finally:
            os.close(handle)

    def _room(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def free(self) -> None:
        """Give the room back."""
        self.ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it: all that is on it is gone."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
