"""Parity with the numbers that public code gives, mostly the authors': outputs, intermediates,
gradients.

The files are the few beside this test (`vectors/`), or all those in the folder that the environment
variable TORCHCAPS_VECTORS names. `pytest -s` shows how many arrays were compared.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracle import Array
from tests.routing.vector_cases import (
    CASES,
    DEFECTIVE,
    DEFECTS,
    NOT_YET_BUILT,
    VectorFile,
    algorithm_of,
)
from torchcaps.routing import EMRouting, sweep

COPIES = Path(__file__).parent / "vectors"
FOLDER = Path(os.environ.get("TORCHCAPS_VECTORS") or COPIES)
FILES = sorted(FOLDER.glob("*.npz"))
BUILT = [path for path in FILES if algorithm_of(path) in CASES]
BACKENDS = ["reference", "tiles"]
DTYPES = [torch.float32, torch.float64]
# Error over the largest entry of the array, or over 1 where all are smaller.
OUTPUTS = {torch.float32: 2e-5, torch.float64: 1e-7}
GRADIENTS = {torch.float32: 5e-5, torch.float64: 1e-7}


def scale(array: Array) -> float:
    """What an error in the array is measured by."""
    return max(1.0, float(np.abs(array).max(initial=0)))


class Comparison(NamedTuple):
    """An array of a file beside that of this package.

    Attributes:
        name: of the array; of what the gradient is taken with respect to.
        dtype: that both were computed in.
        error: the largest, over the largest entry of the array or over 1.
        allowed: how large it may be.
    """

    name: str
    dtype: torch.dtype
    error: float
    allowed: float


def compared_with(
    name: str, found: Tensor | None, expected: Array, dtype: torch.dtype, allowed: float
) -> Comparison:
    """Fails where there is nothing to compare, or it has another shape."""
    assert found is not None, f"{name} is not compared"
    assert tuple(found.shape) == expected.shape, f"{name} has the shape {tuple(found.shape)}"
    error = float(np.abs(found.detach().numpy() - expected).max(initial=0)) / scale(expected)
    return Comparison(name, dtype, error, allowed)


def comparisons(file: VectorFile, backend: str, dtype: torch.dtype) -> Iterator[Comparison]:
    """All arrays of this dtype in the file beside what this package gives."""
    width = "64" if dtype == torch.float64 else ""
    tensors = file.tensors(dtype)
    routed = file.route(tensors, backend)
    for kind in ("out", "mid"):
        for name, expected in arrays(file, f"{kind}{width}_").items():
            found = routed.get(f"{kind}_{name}", routed.get(name))  # where two have one name
            yield compared_with(name, found, expected, dtype, OUTPUTS[dtype])
    seeds = {name: torch.tensor(seed, dtype=dtype) for name, seed in arrays(file, "seed_").items()}
    assert seeds
    sum((routed[name] * seed).sum() for name, seed in seeds.items()).backward()
    for name, expected in arrays(file, f"grad{width}_").items():
        if name not in DEFECTS.get(file.algorithm, {}):
            found = tensors[name].grad
            yield compared_with(f"gradient of {name}", found, expected, dtype, GRADIENTS[dtype])


def compare(file: VectorFile, backend: str, dtype: torch.dtype) -> int:
    """Fails where an array of this dtype in the file is not what this package gives, within the
    tolerance; the number of arrays."""
    compared = 0
    for name, _, error, allowed in comparisons(file, backend, dtype):
        assert error <= allowed, f"{name} is off by {error:.1e}, more than {allowed:.0e}"
        compared += 1
    return compared


def arrays(file: VectorFile, prefix: str) -> dict[str, Array]:
    """The arrays whose names begin like this, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in file.arrays.items()
        if name.startswith(prefix)
    }


@pytest.fixture(autouse=True)
def one_child_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tiles as there are input capsules."""
    monkeypatch.setattr(sweep, "TILE_BYTES", 1)


@pytest.fixture(scope="module")
def compared() -> Iterator[dict[str, Counter[str]]]:
    """Algorithm → file → how many of its arrays were compared; printed at the end."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    yield counts
    print()
    for algorithm, of_files in sorted(counts.items()):
        print(f"{algorithm}: {of_files.total()} arrays of {len(of_files)} files")
    total = sum(of_files.total() for of_files in counts.values())
    files = sum(map(len, counts.values()))
    print(f"compared in all: {total} arrays of {files} files ({len(FILES)} in {FOLDER.name})")
    print("files that follow a defect of their original, and what is asserted of them:")
    for prefix, (defect, asserted, test) in DEFECTIVE.items():
        number = sum(path.stem.startswith(prefix) for path in FILES)
        print(f"  {prefix} ({number}): {defect}; {asserted} ({test})")
    missing = set(NOT_YET_BUILT) - {algorithm_of(path) for path in FILES}
    if FOLDER != COPIES and missing:
        print(f"not yet built, and without a file: {', '.join(sorted(missing))}")


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.stem)
def test_numbers_are_those_of_the_public_code(
    path: Path, backend: str, dtype: torch.dtype, compared: dict[str, Counter[str]]
) -> None:
    file = VectorFile(path)
    number = compare(file, backend, dtype)
    assert number
    compared[file.algorithm][path.stem] += number


def test_every_file_is_compared_or_named_as_not_yet_built() -> None:
    assert FILES, f"{FOLDER} holds no .npz files: set TORCHCAPS_VECTORS to a folder that does"
    unknown = [path.name for path in FILES if not algorithm_of(path)]
    assert not unknown, f"CASES and NOT_YET_BUILT of vector_cases.py lack {unknown}"


def test_no_file_belongs_to_two_algorithms() -> None:
    names = [prefix + "-" for prefix in (*CASES, *NOT_YET_BUILT)]
    assert not [(a, b) for a in names for b in names if a != b and a.startswith(b)]
    assert len(names) == len(set(names))


def test_every_case_has_a_copy() -> None:
    assert {algorithm_of(path) for path in COPIES.glob("*.npz")} == set(CASES)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("path", sorted(COPIES.glob("*.npz")), ids=lambda path: path.stem)
def test_one_changed_entry_fails(path: Path, dtype: torch.dtype, tmp_path: Path) -> None:
    width = "64" if dtype == torch.float64 else ""
    with np.load(path, allow_pickle=False) as held:
        content = {name: held[name] for name in held.files}
    defects = DEFECTS.get(algorithm_of(path), {})
    changed = 0
    for name in content:
        kind, _, rest = name.partition("_")
        if kind not in (f"out{width}", f"mid{width}", f"grad{width}") or rest in defects:
            continue
        array = content[name].copy()
        array.flat[-1] += 1e-3 * scale(array) if array.dtype.kind == "f" else 1
        copy = tmp_path / path.name
        np.savez(copy, **{**content, name: array})
        with pytest.raises(AssertionError, match=rf"{rest} is off by"):
            compare(VectorFile(copy), "reference", dtype)
        changed += 1
    assert changed


@pytest.mark.parametrize(
    "path", [p for p in BUILT if algorithm_of(p) == "em-yl1993-fc"], ids=lambda path: path.stem
)
def test_activations_do_not_cancel(path: Path) -> None:
    """In that code activations have next to no effect; here they have, and change the output."""
    file = VectorFile(path)
    gradients = arrays(file, "grad64_")
    assert np.abs(gradients["in_votes"]).max() > 0.1
    assert np.abs(gradients["in_activation"]).max() < 2e-5
    tensors = file.tensors(torch.float64)
    votes, activation = tensors["in_votes"], tensors["in_activation"]
    children, parents, dim = votes.shape[1:]
    iterations, final_lambda = file.settings["iterations"], file.settings["inverse_temperature"]
    routing = EMRouting(iterations, final_lambda=final_lambda)
    routing.build(children, dim, parents, dim).double()
    pose = routing(votes, activation).pose
    (pose * torch.tensor(file.arrays["seed_pose"])).sum().backward()
    assert activation.grad.abs().max() > 0.01
    assert np.abs(pose.detach().numpy() - file.arrays["out64_pose"]).max() > 0.01
