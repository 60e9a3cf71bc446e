from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image

from torchcaps.benchmark import contenders, run
from torchcaps.benchmark.chart import draw_chart, slower_than
from torchcaps.benchmark.contenders import CONTENDERS
from torchcaps.benchmark.measure import Machine, extra_memory
from torchcaps.benchmark.rows import append_rows, read_rows
from torchcaps.benchmark.shapes import SHAPES, Shape
from torchcaps.errors import InputError, RunStopped
from torchcaps.votes import Windows

SMALL = Shape("small", "none", 6, 9, 3, 4, 5)
PADDED = Shape("padded", "none", 6, 9, 3, 4, 5, shared=True, masked=True)
OTHERS = [
    replace(SMALL, name="attention", routing="attention", D=9, P=9, matrices=True),
    replace(SMALL, name="self_attention", routing="self_attention", iterations=2),
    replace(PADDED, name="interests", routing="interests", one_map=True),
    Shape(
        "windows", "none", 2, 9, 3, 4, 4, routing="em", matrices=True,
        windows=Windows((5, 5), (3, 3), (2, 2), (0, 0)),
    ),
]  # fmt: skip


@pytest.mark.parametrize("shape", [SMALL, PADDED, *OTHERS], ids=lambda shape: shape.name)
@pytest.mark.parametrize("name", ["broadcast", "einsum", "torchcaps"])
def test_all_contenders_compute_the_same(name, shape):
    problem = shape.draw("cpu", torch.float32)
    expected = run._results(run._reference, run._in_double(problem))
    for found, exact in zip(run._results(CONTENDERS[name], problem), expected):
        torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in SHAPES if not SHAPES[name].gpu_only])
def test_ours_is_right_on_every_shape(name):
    run.check(replace(SHAPES[name], B=1 if SHAPES[name].windows else 2), "cpu")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_wrong_result_is_not_timed(part, monkeypatch):
    right = run._results

    def slightly_wrong(route, problem):
        results = list(right(route, problem))
        if route is contenders.ours:
            results[part] = results[part] * (1 + 1e-5)
        return tuple(results)

    monkeypatch.setattr(run, "_results", slightly_wrong)
    monkeypatch.setattr(run, "seconds", pytest.fail)
    with pytest.raises(RunStopped, match="was not timed"):
        run.measure(SMALL)


def test_rows_have_times_memory_ratios_and_the_floor(tmp_path):
    usual = ("broadcast", "einsum", "torchcaps")
    rows = run.measure(SMALL, budget=1e-9, contenders=usual)
    assert [(row["contender"], row["direction"]) for row in rows] == [
        (name, direction) for name in usual for direction in ("forward", "forward+backward")
    ]
    for row in rows:
        assert row["rounds"] == 3
        assert row["calls"] >= 2  # so small a layer takes far less than 20 ms
        assert 0 < row["q25_ms"] <= row["median_ms"] <= row["q75_ms"]
        assert row["times_floor"] >= 1
        (own,) = (
            r for r in rows
            if r["contender"] == "torchcaps" and r["direction"] == row["direction"]
        )  # fmt: skip
        assert row["times_torchcaps"] == pytest.approx(
            row["median_ms"] / own["median_ms"], abs=0.01
        )
    assert rows[-1]["backend"] == "cpu"
    draw_chart(rows[:2] + rows[4:], path=tmp_path / "a.png")  # einsum was not measured
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 1200


def test_what_does_not_fit_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(run, "available_memory", lambda device: 2**30)
    said: list[str] = []
    huge = replace(SMALL, B=10**6, P=100)
    assert run._lacking("broadcast", huge, "cpu") == "it needs some 82 GiB, of 1 that are free"
    monkeypatch.setattr(run, "_lacking", lambda name, *_: "no" if name == "broadcast" else None)
    rows = run.measure(SMALL, budget=1e-9, contenders=("broadcast", "torchcaps"), say=said.append)
    assert said == ["small: broadcast is left out: no"]
    assert {row["contender"] for row in rows} == {"torchcaps"}


def test_the_chart_says_where_another_way_is_faster():
    """From 1 to the ratio, to the left in the colour of what is wrong; the figure beside it."""
    ratios = {"einsum": 0.25, "einsum compiled": 40.0, "torchcaps": 1.0}
    rows = [
        {
            "shape": "a", "direction": "forward", "contender": name, "median_ms": ratio,
            "times_torchcaps": ratio,
        }
        for name, ratio in ratios.items()
    ]  # fmt: skip
    assert slower_than(rows, "times_torchcaps") == ["a, forward: einsum 0.25"]


def test_operations_and_traffic_are_counted():
    tiny = Shape("tiny", "none", 1, 1, 1, 1, 1, iterations=1)
    assert tiny.operations(backward=False) == 2 + 2  # one product, one sum
    assert tiny.operations(backward=True) == 4 + 4 + 2  # and du, dW, and c·ds
    assert tiny.traffic(backward=False) == 4 * 3  # u, W, v
    assert tiny.traffic(backward=True) == 4 * (3 + 5)  # u, W, dv, du, dW
    mnist = SHAPES["mnist"]
    assert mnist.votes == 128 * 1152 * 160
    assert mnist.operations(backward=False) == mnist.votes * (16 + 6 + 4)
    interests = SHAPES["interests"]  # 4 outputs; W three times forth, and twice back
    assert interests.operations(backward=False) == 1024 * 64 * 2 * (50 * 17 + 4 * 64 * 5)
    assert Machine(operations=100, bytes=1000).floor(200, 1000) == 2
    assert Machine(operations=100, bytes=10).floor(200, 1000) == 100


def test_extra_memory_is_that_of_the_peak():
    def hold(megabytes):
        numbers = torch.ones(megabytes * 2**18)
        return (numbers + 1).sum()

    found = [extra_memory(partial(hold, m), "cpu") / 2**20 for m in (40, 80)]
    assert found == pytest.approx([80, 160], rel=0.1)


def test_rows_are_added_to_those_that_are_there(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    append_rows(path, [{"a": 1, "b": None}])
    append_rows(path, [{"a": 2, "b": "x, y"}])
    assert read_rows(path) == [{"a": 1, "b": None}, {"a": 2, "b": "x, y"}]
    with pytest.raises(InputError, match="has other columns than these results"):
        append_rows(path, [{"a": 3}])
    assert len(path.read_text().splitlines()) == 3
    path.write_text(path.read_text().rstrip())
    append_rows(path, [{"a": 3, "b": 4}])
    assert read_rows(path)[1:] == [{"a": 2, "b": "x, y"}, {"a": 3, "b": 4}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3", r"is damaged \(row 2 has 1 cells in 2 columns\): remove that row"),
        (b"a,b\n1,2,3\n", r"is damaged \(row 1 has 3 cells in 2 columns\)"),
        (b"a,b\n\xe9,2\n", "is no table in UTF-8"),
        (b"a,b,c\n", "has other columns than these results"),
    ],
)
def test_a_damaged_table_stays_as_it_is(tmp_path, content, message):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        append_rows(path, [{"a": 1, "b": None}])
    assert path.read_bytes() == content


def test_the_columns_are_known_before_anything_is_measured():
    rows = run.measure(SMALL, budget=1e-9, contenders=("torchcaps",))
    assert list(rows[0]) == run.columns_of_rows()
