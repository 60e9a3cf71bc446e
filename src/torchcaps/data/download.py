"""Fetch published files into a cache, from the first mirror that has them, checked by SHA-256."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from torchcaps.data.mnist import IdxDataset
from torchcaps.data.optional import require
from torchcaps.errors import InputError

__all__ = ["cache_dir", "fetch"]

# Of requests, which is known only through pooch; their texts are long and about urllib3.
NO_CONNECTION = {"ConnectionError", "ConnectTimeout", "ProxyError", "SSLError"}


def cache_dir() -> Path:
    """The cache folder: the environment variable TORCHCAPS_CACHE, or the platform's.

    Example:
        >>> import os
        >>> os.environ["TORCHCAPS_CACHE"] = "/var/cache/caps"
        >>> print(cache_dir().as_posix())
        /var/cache/caps
        >>> del os.environ["TORCHCAPS_CACHE"]
    """
    chosen = os.environ.get("TORCHCAPS_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise InputError(
                f"TORCHCAPS_CACHE is {chosen}, and there is no such user: name a folder"
            ) from error
    return Path(require("pooch", "pooch", "Finding the cache folder").os_cache("torchcaps"))


def fetch(
    dataset: IdxDataset, mirrors: Sequence[str] | None = None, cache: Path | None = None
) -> dict[str, Path]:
    """Download what the cache lacks: {published name: path}.

    A file whose SHA-256 differs from the published one is never used: it is fetched again, then
    from the next mirror. Complete files in the cache need no network.

    Args:
        dataset: the files and their digests.
        mirrors: base addresses ending in "/", each tried in turn; without them the data set's own.
        cache: the folder that holds a folder per data set; without it `cache_dir()`.

    Raises:
        InputError: no mirror gave a file, or the cache cannot be written.
        MissingPackage: pooch is not installed.
    """
    pooch = require("pooch", "pooch", f"Downloading {dataset.name}")
    folder = (cache if cache is not None else cache_dir()) / dataset.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the cache folder {folder} cannot be made ({error.strerror}); set TORCHCAPS_CACHE to "
            "a folder that can be written"
        ) from error
    bar = sys.stderr is not None and sys.stderr.isatty()
    downloader = pooch.HTTPDownloader(progressbar=bar)
    return {
        name: _fetch_one(pooch, dataset, name, mirrors or dataset.mirrors, folder, downloader)
        for name in dataset.sha256
    }


def _fetch_one(
    pooch: object,
    dataset: IdxDataset,
    name: str,
    mirrors: Sequence[str],
    folder: Path,
    downloader: object,
) -> Path:
    reasons = []
    for mirror in mirrors:
        try:
            path = pooch.retrieve(  # type: ignore[attr-defined]  # imported by name in fetch
                url=mirror + name,
                known_hash=f"sha256:{dataset.sha256[name]}",
                fname=name,
                path=folder,
                downloader=downloader,
            )
        # every error of requests is an OSError; a wrong digest is a ValueError
        except (OSError, ValueError) as error:
            reasons.append(f"{mirror}: {_brief(error)}")
        else:
            return Path(path)
    raise InputError(
        f"{name} of {dataset.name} could not be downloaded ({'; '.join(reasons)}); check the "
        f"network, or put {', '.join(dataset.sha256)} into a folder and give it as --data-dir "
        "(data_dir in Python)"
    )


def _brief(error: Exception) -> str:
    """The first line, without the object addresses and nesting of urllib3."""
    if isinstance(error, ValueError) and "hash" in str(error):
        return "the file has a wrong SHA-256"
    if isinstance(error, ConnectionError) or type(error).__name__ in NO_CONNECTION:
        return "no connection"
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{type(error).__name__}: {text[:120]}{'…' if len(text) > 120 else ''}"
