"""Downloading from a server of the test's own: no network is touched."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from torchcaps.data.download import cache_dir, fetch
from torchcaps.data.mnist import IdxDataset
from torchcaps.data.optional import MissingPackage
from torchcaps.errors import InputError

CONTENT = {"one.gz": b"the first file", "two.gz": b"the second"}
TOY = IdxDataset(
    name="toy",
    class_names=("a", "b"),
    raw_folder="Toy/raw",
    mirrors=(),
    sha256={name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()},
    train_labels="",
)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and notes what was asked for."""

    asked: list[str]

    def log_message(self, *args: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    """Folders good/ and bad/ (with wrong bytes) behind a server; empty/ has nothing."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "site"
    for name, content in CONTENT.items():
        for kind in ("good", "bad", "empty"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / "good" / name).write_bytes(content)
        (folder / "bad" / name).write_bytes(content[:-1])
    asked: list[str] = []
    handler = type("Noting", (Handler,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    yield SimpleNamespace(
        good=f"{base}/good/", bad=f"{base}/bad/", empty=f"{base}/empty/", asked=asked
    )
    server.shutdown()
    thread.join()
    server.server_close()


def contents(files: dict[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


def test_files_are_fetched_into_the_cache(site, tmp_path):
    files = fetch(TOY, [site.good], tmp_path / "cache")
    assert contents(files) == CONTENT
    assert {path.parent for path in files.values()} == {tmp_path / "cache" / "toy"}


@pytest.mark.parametrize("first", ["empty", "bad"])
def test_the_second_mirror_serves_what_the_first_does_not(site, tmp_path, first):
    files = fetch(TOY, [getattr(site, first), site.good], tmp_path)
    assert contents(files) == CONTENT
    assert any(first in line for line in site.asked)


def test_the_second_mirror_is_left_in_peace_when_the_first_serves(site, tmp_path):
    fetch(TOY, [site.good, site.empty], tmp_path)
    assert not any("empty" in line for line in site.asked)


def test_a_complete_cache_needs_no_server(site, tmp_path):
    fetch(TOY, [site.good], tmp_path)
    asked = len(site.asked)
    assert contents(fetch(TOY, ["http://127.0.0.1:9/"], tmp_path)) == CONTENT
    assert len(site.asked) == asked


def test_a_damaged_file_in_the_cache_is_fetched_again(site, tmp_path):
    files = fetch(TOY, [site.good], tmp_path)
    files["one.gz"].write_bytes(b"half")
    assert contents(fetch(TOY, [site.good], tmp_path)) == CONTENT


def test_wrong_bytes_everywhere_are_an_error_and_leave_nothing(site, tmp_path):
    with pytest.raises(InputError, match=r"one\.gz of toy .*wrong SHA-256.*--data-dir"):
        fetch(TOY, [site.bad], tmp_path / "cache")
    assert list((tmp_path / "cache" / "toy").iterdir()) == []


def test_no_network_is_one_error_that_says_where_to_put_the_files(tmp_path):
    refused = "http://127.0.0.1:9/"
    with pytest.raises(InputError) as caught:
        fetch(TOY, [refused, refused + "second/"], tmp_path)
    message = str(caught.value)
    assert f"({refused}: no connection; {refused}second/: no connection)" in message
    assert "put one.gz, two.gz into a folder" in message
    assert "\n" not in message


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="TORCHCAPS_CACHE"):
        fetch(TOY, ["http://127.0.0.1:9/"], tmp_path / "file")


def test_the_environment_chooses_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHCAPS_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("TORCHCAPS_CACHE")
    assert "torchcaps" in str(cache_dir())


def test_without_pooch_the_message_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingPackage, match=r'pip install "torchcaps\[train\]"'):
        fetch(TOY, [], tmp_path)
