"""The report of `efficiency`: errors by images and by width, and what capsules spare."""

from collections.abc import Sequence

from reproduction.efficiency.figures import draw_errors
from reproduction.efficiency.points import CNN, NETWORKS, ROUTED, UNIFORM, Point, comparisons
from reproduction.harness.budget import budget_part
from reproduction.harness.comparison import differences, judgement_part
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import plus_minus, table
from reproduction.harness.statistics import summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import Judgement, judge, too_few

__all__ = ["report"]


def report(results: Results) -> Report:
    """By images at the default width, by width with the most images, and the verdicts."""
    known = [Point.of(name) for name in results.scale.compared if results.of(name)]
    most = max(point.images for point in known)
    by_images = [point for point in known if point.width == 1]
    by_width = [point for point in known if point.images == most]
    names = comparisons([point.name for point in known])
    pairs = [
        (point.name, point._replace(network=other).name)
        for network, other in ((ROUTED, CNN), (ROUTED, UNIFORM), (UNIFORM, CNN))
        for point in known
        if point.network == network
    ]
    judged = dict(zip(pairs, judge(differences(results, names, pairs))))
    draw_errors(results, by_images, by_width, path=results.folder / "errors.png")
    findings = [
        finding(words, [judged[pair] for pair in pairs if is_routed(pair) and pair[1] in chosen])
        for words, chosen in (
            ("from as many images", cnns(by_images)),
            ("with as many parameters", cnns(by_width)),
        )
    ]
    parts = [
        "![Error against training images and against parameters](errors.png)",
        error_table(results, by_images, "training images"),
        f"At the default width. With {most:,} images, by width:",
        error_table(results, by_width, "width"),
        "Errors on held-out images, %; mean ± standard deviation over the seeds, the number of "
        "parameters behind. In the picture no mistake is drawn as half a one.",
        images_seen(results, known),
        "## Differences",
        *judgement_part(list(judged.values())),
        *budget_part({point.label: results.of(point.name) for point in known}, results.scale),
        *trial_part(results, {point.name: point.label for point in known}),
    ]
    figures = [f"{found.claim}: {found.ours}" for found in findings]
    return Report(figures, "\n\n".join(parts), findings)


def images_seen(results: Results, points: Sequence[Point]) -> str:
    """How many images a training saw, by the number that it learnt from."""
    seen: dict[int, set[int]] = {}
    for point in points:
        counts = {row["images_seen"] for row in results.of(point.name)}
        seen[point.images] = seen.get(point.images, set()) | counts
    each = "; ".join(
        f"{' or '.join(f'{count:,}' for count in sorted(counts))} from {images:,}"
        for images, counts in sorted(seen.items())
    )
    return f"Images that a training saw, the same one counted each time: {each}."


def is_routed(pair: tuple[str, str]) -> bool:
    """Whether the first of two is dynamic routing."""
    return Point.of(pair[0]).network == ROUTED


def cnns(points: Sequence[Point]) -> set[str]:
    """The cells of the CNN among some points."""
    return {point.name for point in points if point.network == CNN}


def error_table(results: Results, points: Sequence[Point], axis: str) -> str:
    """A line a number of images, or a width; a column a network."""
    places = sorted({(point.images, point.width) for point in points})
    body = []
    for images, width in places:
        line: list[object] = [f"{images:,}" if axis == "training images" else f"{width:g}"]
        for network in NETWORKS:
            rows = results.of(Point(network, images, width).name)
            errors = plus_minus(summarise([row["test_error"] for row in rows]))
            line.append(f"{errors} ({rows[0]['parameters']:,})")
        body.append(line)
    return table([axis, *(label for label, _ in NETWORKS.values())], body)


def finding(words: str, judged: Sequence[Judgement]) -> Finding:
    """At how many points capsules surely err less than the CNN."""
    verdicts = [one.verdict for one in judged]
    lower, higher = verdicts.count("lower"), verdicts.count("higher")
    fewest = min(one.difference.estimate.seeds for one in judged)
    undecided = "not decided" if "not decided" in verdicts else too_few(fewest)
    decided = [f"{count} {word}" for count, word in ((lower, "lower"), (higher, "higher")) if count]
    return Finding(
        f"A capsule network errs less than a CNN with the same stem {words}",
        "said, not measured",
        f"lower at {lower} of {len(verdicts)} points, higher at {higher}, not decided at "
        f"{len(verdicts) - lower - higher}",
        ", ".join(decided) or undecided,
    )
