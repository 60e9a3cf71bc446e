"""Matlab files in the layout of affNIST, and files that only look like them."""

import builtins
import pickle
import sys

import numpy as np
import pytest
import torch

from torchcaps.data import read_affnist
from torchcaps.data.optional import MissingPackage
from torchcaps.errors import InputError

scipy_io = pytest.importorskip("scipy.io")


def content(count=7):
    """The fields of the published files, of the types and shapes that they have there."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, count)
    return {
        "affine_transform": draw.normal(size=(2, 3, count)),
        "human_readable_transform": draw.normal(size=(6, count)),
        "image": draw.integers(0, 256, (1600, count), dtype=np.uint8),
        "label_int": labels.astype(np.uint8)[None],
        "label_one_of_n": np.eye(10)[labels].T,
    }


@pytest.fixture
def write(tmp_path):
    def write(fields, name="test.mat", **options):
        path = tmp_path / name
        scipy_io.savemat(path, {"affNISTdata": fields}, **options)
        return path

    return write


@pytest.mark.parametrize("options", [{}, {"do_compression": True}])
def test_the_published_layout(write, options):
    fields = content()
    data = read_affnist(write(fields, **options))
    assert data.images.shape == (7, 1, 40, 40)
    assert data.labels.tolist() == fields["label_int"][0].tolist()
    for k in range(7):
        for y, x in [(0, 0), (0, 39), (39, 0), (12, 30)]:
            assert data.images[k, 0, y, x] == fields["image"][40 * y + x, k]
    assert data.class_names == tuple("0123456789")


def test_labels_of_other_types(write):
    for kind in (np.float64, np.int32):
        fields = content() | {"label_int": content()["label_int"].astype(kind)}
        assert read_affnist(write(fields)).labels.tolist() == content()["label_int"][0].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((784, 7), np.uint8)}, r"image is uint8 of shape \[784, 7\]"),
        ({"image": np.zeros((1600, 7))}, r"image is float64 of shape \[1600, 7\]"),
        ({"image": np.zeros((1600, 6), np.uint8)}, r"label_int is uint8 of shape \[1, 7\]"),
        ({"label_int": np.full((1, 7), 11)}, "label_int holds other numbers than 0 to 9"),
        ({"label_int": np.full((1, 7), 1.5)}, "label_int holds other numbers than 0 to 9"),
        ({"label_int": "seven77"}, "label_int is <U7"),
        ({"label_int": [{"a": 1}] * 7}, "label_int is object"),
    ],
)
def test_fields_that_are_not_affnists(write, change, message):
    with pytest.raises(
        InputError, match=rf"test.mat is not a file of affNIST: {message}.*expected"
    ):
        read_affnist(write(content() | change))


def test_files_that_are_not_affnist(write, tmp_path):
    fields = content()
    del fields["label_int"]
    with pytest.raises(InputError, match="there is no affNISTdata with the field label_int"):
        read_affnist(write(fields))
    scipy_io.savemat(tmp_path / "other.mat", {"other": 1})
    with pytest.raises(InputError, match="there is no affNISTdata with the field image"):
        read_affnist(tmp_path / "other.mat")
    scipy_io.savemat(tmp_path / "plain.mat", {"affNISTdata": np.zeros(3)})
    with pytest.raises(InputError, match="there is no affNISTdata with the field image"):
        read_affnist(tmp_path / "plain.mat")
    with pytest.raises(InputError, match=r"none\.mat is not there: name a .mat file"):
        read_affnist(tmp_path / "none.mat")


def test_damaged_files(write, tmp_path):
    whole = write(content(), do_compression=True).read_bytes()
    damaged = {
        "empty": b"",
        "short": whole[:200],
        "half": whole[: len(whole) // 2],
        "text": b"no Matlab file, but a text that is somewhat longer than its header" * 4,
        "new": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 8,
        "turned": whole[:400] + bytes(reversed(whole[400:])),
    }
    for name, content_of in damaged.items():
        path = tmp_path / f"{name}.mat"
        path.write_bytes(content_of)
        with pytest.raises(InputError, match=rf"{name}\.mat"):
            read_affnist(path)


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


def test_nothing_is_unpickled(write, tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    read_affnist(write(content()))
    (tmp_path / "pickle.mat").write_bytes(pickle.dumps(Bomb()) * 20)
    np.save(tmp_path / "array.npy", np.array([Bomb()]), allow_pickle=True)
    (tmp_path / "array.npy").rename(tmp_path / "array.mat")
    for name in ("pickle", "array"):
        with pytest.raises(InputError, match="cannot be read as a Matlab file"):
            read_affnist(tmp_path / f"{name}.mat")
    assert capsys.readouterr().out == ""


def test_without_scipy_a_person_is_told_what_to_install(write, monkeypatch):
    path = write(content())
    real = builtins.__import__
    for name in [name for name in sys.modules if name.split(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        MissingPackage, match=r"needs scipy, .*pip install \"torchcaps\[affnist\]\""
    ):
        read_affnist(path)
    assert builtins.__import__ is real


def test_the_published_test_set(published):
    path = published / "affnist" / "test.mat"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    data = read_affnist(path)
    assert len(data) == 320_000
    assert torch.equal(data.labels.unique(), torch.arange(10))
