"""The report of an experiment as a Markdown file: claim, figures, tables, setup, differences."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from reproduction.harness.cell import Cell, Row
from reproduction.harness.experiment import Experiment, Report, Results
from reproduction.harness.folder import ExperimentFolder
from reproduction.harness.markdown import table
from reproduction.harness.scale import Scale
from reproduction.harness.tuning import TRIAL_SEED
from torchcaps.storage import write_text
from torchcaps.training.config import USUAL_SHIFT, TrainConfig

__all__ = ["at_one_look", "origins", "report_of", "setup", "write_report"]

DECAY = {"exponential": "exponentially", "cosine": "along a cosine"}
WEIGHTS = "of the last epoch; no held-out image was looked at before"


def report_of(experiment: Experiment, results: Results) -> Report:
    """The report of rows, of which every table says whose network it is of.

    Where trainings diverged, they are named before everything else, and with every verdict.
    """
    report = experiment.report(results)
    body = labelled(report.body, results.scale.whose_network)
    if not results.diverged:
        return dataclasses.replace(report, body=body)
    verdicts = [
        dataclasses.replace(found, verdict=f"{found.verdict} (without trainings that diverged)")
        for found in report.findings
    ]
    first = (
        f"diverged, and without a row: {', '.join(results.diverged)}. Seeds from the first of "
        "these on are left out, of all networks: errors, intervals and verdicts are of the seeds "
        "in which every training came to its end, and flatter a network that diverged"
    )
    return dataclasses.replace(
        report, figures=[first, *report.figures], body=body, findings=verdicts
    )


def labelled(body: str, words: str) -> str:
    """Every table of a text with some words in its first heading.

    Example:
        >>> print(labelled("| r | error |\\n|---|--:|\\n| 1 | 2 % |", "small"))
        | r (small) | error |
        |---|--:|
        | 1 | 2 % |
    """
    lines = body.split("\n")
    for k, below in enumerate(lines[1:]):
        if words and below.startswith("|---|"):
            first, rest = lines[k].removeprefix("| ").split("|", 1)
            first = first.strip()
            lines[k] = f"| {f'{first} ({words})' if first else words} |{rest}"
    return "\n".join(lines)


def write_report(
    folder: ExperimentFolder,
    experiment: Experiment,
    scale_name: str,
    scale: Scale,
    rows: Sequence[Row],
    report: Report,
) -> None:
    """Write report.md."""
    data = folder.read_facts()["data"]
    differs = [f"- {line}" for line in experiment.differs(scale)]
    parts = [
        f"# {experiment.name}: {experiment.shows}",
        experiment.claim,
        "## As measured",
        "\n".join(f"- {line}" for line in report.figures),
        report.body,
        "## Setup",
        table(["", ""], setup(experiment, scale_name, scale, data, rows)).replace("--:", "---"),
        "## What differs from the original",
        "\n".join(differs),
        "## Record",
        record(rows),
    ]
    write_text(folder.path / "report.md", "\n\n".join(part for part in parts if part) + "\n")


def setup(
    experiment: Experiment,
    scale_name: str,
    scale: Scale,
    data: dict[str, Any] | None,
    rows: Sequence[Row],
) -> list[list[object]]:
    """What was trained on what, as rows of a table."""
    lines: list[list[object]] = [["scale", scale_name]]
    if scale.training is None or data is None:
        return lines
    config = scale.training
    compared = [cell for cell in experiment.cells(scale) if cell.trial_of is None]
    shape = "×".join(map(str, data["image"]))
    rates = f"{config.learning_rate:g}"
    if scale.rates:
        rates = f"tuned for each network among {', '.join(f'{r:g}' for r in scale.rates)}"
    return [
        *lines,
        [
            "data",
            f"{data['name']}: {data['train']:,} training and {data['test']:,} held-out images "
            f"of {shape}",
        ],
        ["network", scale.network or config.model],
        ["seeds", scale.seeds],
        ["epochs, batch", f"{epochs_of(compared, config)}, {config.batch_size}"],
        [
            "Adam, learning rate",
            f"{rates}, decaying {DECAY[config.schedule]} to {config.final_learning_rate:.3g} of it",
        ],
        ["shifts", shifts(config)],
        ["weights", WEIGHTS if scale.level is None else f"{WEIGHTS}, but {until_level(rows)}"],
    ]


def epochs_of(cells: Sequence[Cell], config: TrainConfig) -> str:
    """The epochs of these trainings: one number, or the lowest and the highest."""
    found = sorted({int(cell.options.get("epochs", config.epochs)) for cell in cells})
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def shifts(config: TrainConfig) -> str:
    """By how much training images are shifted."""
    if config.max_shift is not None:
        return f"up to {config.max_shift} pixels"
    return f"up to {USUAL_SHIFT} pixels; of photos up to an eighth of their side"


def until_level(rows: Sequence[Row]) -> str:
    """When held-out images were looked at while training, where networks are compared at a level.

    Between the looks beside it, for which every look up to the level has to be there.
    """
    if at_one_look(rows):
        return "once, at the level"
    return "at every look up to the level, which is found without them"


def at_one_look(rows: Sequence[Row]) -> bool:
    """Whether the level was met at a whole number of looks, as in rows of an older version."""
    looks = [row["matched_look"] for row in rows if row.get("matched_look") is not None]
    return bool(looks) and all(isinstance(look, int) for look in looks)


def record(rows: Sequence[Row]) -> str:
    """Where the rows are, and what they come from."""
    return "A row a cell, with seed, versions and commit: [results.csv](results.csv).\n\n" + table(
        ["", ""], origins(rows)
    ).replace("--:", "---")


def origins(rows: Sequence[Row]) -> list[list[object]]:
    """Versions and machines that rows come from, as rows of a table."""
    names = ("torchcaps", "commit", "torch", "numpy", "python", "cpu", "gpu", "threads")
    kinds = {name: dict.fromkeys(str(row.get(name) or "none") for row in rows) for name in names}
    lines: list[list[object]] = [[name, ", ".join(values)] for name, values in kinds.items()]
    if len(kinds["commit"]) > 1:
        lines.append(["of each commit", by_commit(rows)])
    return lines


def by_commit(rows: Sequence[Row]) -> str:
    """Which trainings are of which commit and machine; those of a network that are not all of one
    by their seeds."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row['commit']}, {row['cpu']}", []).append(row)
    return "; ".join(f"{of}: {in_words(own, rows)}" for of, own in groups.items())


def in_words(own: Sequence[Row], rows: Sequence[Row]) -> str:
    """The names of trainings and the number of trials."""
    names = dict.fromkeys(row["cell"] for row in own if row["seed"] != TRIAL_SEED)
    whole: list[str] = []
    parts: dict[str, list[str]] = {}  # names of the others by their seeds
    for name in names:
        seeds, every = ([r["seed"] for r in some if r["cell"] == name] for some in (own, rows))
        if len(seeds) == len(every):
            whole.append(name)
        else:
            of = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            parts.setdefault(of, []).append(name)
    trials = sum(row["seed"] == TRIAL_SEED for row in own)
    words = [f"{', '.join(some)} ({of})" for of, some in parts.items()]
    words += [f"all of {', '.join(whole)}"] if whole else []
    words += [f"{trials} trial{'s' if trials > 1 else ''}"] if trials else []
    return ", ".join(words)
