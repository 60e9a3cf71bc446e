"""docs/predict.md says what was measured."""

import csv
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
OTHERS = (
    "photos", "clothes", "noise, even", "noise, blobs", "noise, dots", "letters",
    "letters like digits",
)  # fmt: skip


def measured() -> dict[float, list[str]]:
    """Threshold → the cells of its row on the page."""
    path = ROOT / "benchmarks" / "results" / "unknown_pictures.csv"
    found = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            digits = int(row["of digits, right"])
            wrong = int(row["digits, wrong"])
            refused = digits - int(row["digits, right"]) - wrong
            shares = [refused / digits, wrong / digits]
            shares += [int(row[kind]) / int(row[f"of {kind}"]) for kind in OTHERS]
            found[float(row["threshold"])] = [f"{share:.2%}".replace("%", " %") for share in shares]
    return found


def test_every_figure_of_the_table_is_that_of_its_row() -> None:
    rows = re.findall(r"^\| \**([\d.]+)\** \| (.* %) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for threshold, cells in rows:
        assert cells.split(" | ") == measured()[float(threshold)]


def test_the_shipped_network_has_the_threshold_that_the_page_names() -> None:
    from torchcaps import load_model
    from torchcaps.explorer import SHIPPED

    assert load_model(SHIPPED).threshold == 0.5
    assert re.search(r"which has 0\.5\. Digits", PAGE)
