"""`torchcaps predict`."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from torchcaps.cli.eval import check_range
from torchcaps.cli.streams import can_print, one_line, told_apart
from torchcaps.cpu_threads import set_threads
from torchcaps.errors import InputError, SomeFailed
from torchcaps.storage import as_utf8, short_name
from torchcaps.training.config import MOST_THREADS

if TYPE_CHECKING:
    from torchcaps.inference import Answer
    from torchcaps.models import Classifier

__all__ = ["Predict"]

FEW = 12  # images that are named one by one, up to which each is drawn and told at length
MOST_TOLD = 10  # broken files that are named on the screen
NONE = "none of these"


@dataclass
class Predict:
    """Say what images show: one or a few of them with a picture of what the network sees in each,
    folders of them in a table.

    Exit code 0: every image was answered. 1: all but some that could not be read, which are
    counted and named. 2: a mistake in what was asked, or not one image could be read.
    """

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, or of a saved model; digits (comes with the package); or owner/name of a
    repository on the Hugging Face Hub."""
    images: Annotated[list[Path], tyro.conf.Positional] = field(default_factory=list)
    """Image files (PNG, JPEG, …), folders of them at any depth, patterns such as '**/*.jpg'."""
    to: Path | None = None
    """File for a row an image: a table (.csv) or JSON lines (.jsonl). It appears, whole, at the
    end."""
    threshold: float | None = None
    """Say "none of these" where the longest class capsule is shorter, from 0 (never) to 1; default:
    the model's own, at most 0.5, which training chose so that it refuses few known images."""
    invert: Literal["auto", "yes", "no"] = "auto"
    """Swap dark and light: auto does so where the model learned on a dark ground and the image has
    a light one, or the other way round, and says so."""
    pictures: Literal["auto", "yes", "no"] = "auto"
    """Draw each image, its reconstruction and the lengths: auto does so for up to 12 images that
    are named one by one, without --to."""
    out: Path = Path("predictions")
    """Folder for the pictures."""
    batch_size: int | None = None
    """Images at once, which changes speed and memory alone; default: 256, fewer of large ones."""
    threads: int | None = None
    """CPU threads; default: what torch takes, or as many as the container has cores."""
    json: bool = False
    """Print the answers as JSON."""

    def run(self) -> None:
        """Predict, draw and print."""
        import torch

        from torchcaps.cli.checkpoint import load_checkpoint
        from torchcaps.inference import check_folder, find_images

        self._check()
        set_threads(self.threads)
        model = load_checkpoint(self.checkpoint)
        found = find_images(self.images, leave_out=self.out)
        if torch.cuda.is_available():
            model.to("cuda")
        few = len(found.paths) <= FEW and not any(map(os.path.isdir, self.images))
        few = few and set(found.paths) <= set(self.images) and self.to is None
        report = Report(model, found.paths, few, self)
        if report.drawn:
            try:
                check_folder(self.out, f"--out {self.out}")
            except InputError as error:
                if self.pictures == "yes" or self.out != Predict.out:  # somebody asked for them
                    raise
                report.drawn = False
                print(f"no pictures are drawn: {one_line(str(error))}", file=sys.stderr)
        elif self.pictures == "auto" and self.out != Predict.out:
            print(
                one_line(
                    f"no pictures are drawn in {self.out}: for folders, patterns, more than {FEW} "
                    "images, or with --to, add --pictures yes"
                ),
                file=sys.stderr,
            )
        report.take(self._answers(model, found.paths, report.drawn))
        report.end(found.others)

    def _check(self) -> None:
        """Everything that can be wrong before a model or an image is looked at."""
        from torchcaps.inference import check_table

        if not self.images:
            raise InputError(
                "name at least one image after the folder of the model, or a folder of images"
            )
        if self.batch_size is not None:
            check_range("batch-size", self.batch_size)
        if self.threads is not None:
            check_range("threads", self.threads, MOST_THREADS)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"--threshold must be from 0 (never) to 1, got {self.threshold:g}")
        if self.to is not None:
            check_table(self.to, self.images)
        if self.out.suffix.lower() in (".csv", ".json", ".jsonl"):
            raise InputError(
                f"--out {self.out} is the folder for the pictures: name a table of the answers by "
                "--to FILE.csv or --to FILE.jsonl"
            )

    def _answers(
        self, model: "Classifier", paths: Sequence[Path], keep_images: bool
    ) -> Iterator["Answer"]:
        from torchcaps.inference import answer_files
        from torchcaps.training.progress import counted

        with ExitStack() as stack:
            # A bar and lines on one screen would be in each other's way.
            advance = None
            if self.to is not None or self.json or not sys.stdout.isatty():
                advance = stack.enter_context(counted(len(paths), "images"))
            yield from answer_files(
                model,
                paths,
                threshold=self.threshold,
                invert=self.invert,
                batch_size=self.batch_size,
                keep_images=keep_images,
                advance=advance,
            )


class Report:
    """What becomes of the answers: lines, pictures, a table, counts."""

    def __init__(
        self, model: "Classifier", paths: Sequence[Path], few: bool, options: Predict
    ) -> None:
        self.options, self.few, self.names = options, few, model.class_names
        self.shown = told_apart((*self.names, NONE))[:-1]
        self.least = model.threshold if options.threshold is None else options.threshold
        self.drawn = options.pictures == "yes" or (options.pictures == "auto" and few)
        # Never drawn over: what is looked at, and what has been drawn.
        self.taken = {os.path.realpath(path) for path in paths} if self.drawn else set()
        self.counts: Counter[str] = Counter()
        self.total, self.broken = len(paths), list[str]()
        self.values: list[dict[str, Any]] = []
        self.began = time.monotonic()

    def take(self, answers: Iterable["Answer"]) -> None:
        """All answers: into the table, on the screen, drawn."""
        from torchcaps.inference import open_table

        table, names = self.options.to, self.names
        if table is not None and table.suffix.lower() == ".csv":
            names = columns(names)
        with ExitStack() as stack:
            write = None if table is None else stack.enter_context(open_table(table, names))
            for answer in answers:
                if write is not None:
                    write(answer)
                self._count(answer)
                picture = self._draw(answer) if self.drawn and answer.error is None else None
                self._say(answer, picture)
            if len(self.broken) == self.total:  # no table of nothing
                self._say_broken()
                raise InputError(self._all_broken())

    def _count(self, answer: "Answer") -> None:
        if answer.error is not None:
            self.broken.append(answer.error)
        else:
            self.counts[self._word(answer)] += 1

    def _word(self, answer: "Answer") -> str:
        return self.shown[answer.nearest or 0] if answer.known else NONE

    def _all_broken(self) -> str:
        if self.total == 1:
            return self.broken[0]
        return f"none of the {self.total:,} images could be read: replace them, or name others"

    def _say_broken(self) -> None:
        """Each of the first files that were not read, and why; of a single one the end says it."""
        for sentence in self.broken[:MOST_TOLD] if len(self.broken) > 1 else []:
            print(f"not read: {one_line(sentence)}", file=sys.stderr)

    def _draw(self, answer: "Answer") -> Path:
        import torch

        from torchcaps.training.pictures import draw_prediction

        self.options.out.mkdir(parents=True, exist_ok=True)
        picture = free_name(self.options.out, answer.path.stem, self.taken)
        self.taken.add(os.path.realpath(picture))
        assert answer.pixels is not None
        draw_prediction(
            answer.pixels,
            answer.reconstruction,
            torch.tensor(answer.activation),
            self.shown,
            path=picture,
            title=f"{answer.path.name}: {self._word(answer)}",
        )
        return picture

    def _say(self, answer: "Answer", picture: Path | None) -> None:
        from torchcaps.inference.table import as_json

        if self.options.json:
            drawn = {} if picture is None else {"picture": str(picture)}
            self.values.append(as_json(answer, self.names) | drawn)
        elif self.options.to is None and answer.error is None:
            print(at_length(answer, self.shown, picture) if self.few else self._line(answer))

    def _line(self, answer: "Answer") -> str:
        nearest = f", nearest {self.shown[answer.nearest or 0]}" if not answer.known else ""
        return one_line(f"{answer.path}: {self._word(answer)} ({answer.largest:.2f}{nearest})")

    def end(self, others: int) -> None:
        """The counts, and what could not be read.

        Raises:
            SomeFailed: there was such a file.
        """
        if self.options.json:
            print(json.dumps(self.values, indent=2, ensure_ascii=not can_print("é…")))
        elif not self.few:
            screen = sys.stdout if self.options.to is not None else sys.stderr
            print("\n".join(self._summary(others)), file=screen)
        if self.broken:
            self._say_broken()
            raise SomeFailed(self._some_broken())

    def _summary(self, others: int) -> list[str]:
        seconds = time.monotonic() - self.began
        answered = self.total - len(self.broken)
        lines = [f"{answered:,} images in {seconds:.1f} s, {answered / seconds:,.0f} a second"]
        width = max(map(len, self.counts))
        for word in (*self.shown, NONE):
            if self.counts[word]:
                why = f"   (longest class capsule below {self.least:g})" if word == NONE else ""
                lines.append(f"  {word:<{width}} {self.counts[word]:>9,}{why}")
        if others:
            lines.append(f"passed over: {others:,} files of folders that are not called as images")
        if self.options.to is not None:
            lines.append(one_line(f"table: {self.options.to}"))
        return lines

    def _some_broken(self) -> str:
        if len(self.broken) == 1:
            what = f"1 of {self.total:,} images was not read: {self.broken[0]}"
        else:
            what = f"{len(self.broken):,} of {self.total:,} images were not read"
        return f"{what} (the others were answered)"


def columns(names: Sequence[str]) -> tuple[str, ...]:
    """Names as a table holds them in UTF-8; two that were the same there as Python writes them.

    Example:
        >>> print(*columns(["cat", "caf\\udce9", "caf\\\\udce9"]))
        cat 'caf\\udce9' 'caf\\\\udce9'
    """
    times = Counter(map(as_utf8, names))
    return tuple(ascii(name) if times[as_utf8(name)] > 1 else name for name in names)


def free_name(folder: Path, stem: str, taken: set[str]) -> Path:
    """Where to draw: over no input, and not over the picture of an image of the same name."""
    stem = short_name(stem)
    picture, number = folder / f"{stem}-prediction.png", 1
    while os.path.realpath(picture) in taken:
        number += 1
        picture = folder / f"{stem}-{number}-prediction.png"
    return picture


def at_length(answer: "Answer", names: Sequence[str], picture: Path | None) -> str:
    """An answer for a person."""
    ranked = sorted(zip(names, answer.activation), key=lambda pair: -pair[1])
    lengths = ", ".join(f"{name} {length:.2f}" for name, length in ranked[:4])
    word = names[answer.nearest or 0] if answer.known else NONE
    lines = [f"{answer.path}: {word}   (lengths: {lengths})"]
    if answer.inverted:
        lines.append("  dark and light were swapped (--invert no prevents it)")
    if picture is not None:
        lines.append(f"  picture: {picture}")
    return "\n".join("  " * line.startswith("  ") + one_line(line) for line in lines)
