"""How long the explorer's page takes from a stroke to its answer, in Chromium.

    python benchmarks/explorer_speed.py [--models capsnet_small capsnet] [--rounds 30]

For each network a page is written and opened from its file, without a window. A round changes some
pixels and asks the page's engine, which works beside the page's own thread, as a stroke does. The
rows — median, quartiles and least of the time to the answer, the longest that the page stood still
meanwhile, machine, versions, commit — are appended to benchmarks/results/explorer.csv.
"""

import argparse
import datetime
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from torchcaps import create_model
from torchcaps.benchmark.rows import append_rows
from torchcaps.explorer import write_explorer
from torchcaps.models.summary import count_parameters
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "explorer.csv"
ROUNDS = """
async ([rounds, iterations]) => {
  const { data, startEngine } = globalThis.torchcaps;
  const engine = startEngine(data);
  const [height, width] = data.config.image_size;
  const image = new Float32Array(data.config.channels * height * width);
  const drawn = [], bent = [];
  let stood = 0, last = null, watching = true;
  const watch = (now) => {
    if (last !== null) stood = Math.max(stood, now - last);
    last = now;
    if (watching) requestAnimationFrame(watch);
  };
  for (let round = -3; round < rounds; round++) {
    if (round === 0) requestAnimationFrame(watch);
    for (let k = 0; k < 40; k++) image[(Math.random() * image.length) | 0] = Math.random();
    const begun = performance.now();
    const result = await engine.evaluate(image, iterations);
    if (round >= 0) drawn.push(performance.now() - begun);
    const pose = result.trace.poses[iterations - 1];
    const moved = performance.now();
    await engine.reconstruct(pose, result.shown);
    if (round >= 0) bent.push(performance.now() - moved);
  }
  watching = false;
  return { drawn, bent, stood };
}
"""


def measure(page: Page, path: Path, rounds: int) -> dict[str, object]:
    """The figures of one page."""
    page.goto(path.as_uri())
    page.wait_for_timeout(1500)  # what the page does of itself when it opens
    found = page.evaluate(ROUNDS, [rounds, 3])
    low, median, high = statistics.quantiles(found["drawn"], n=4, method="inclusive")
    return {
        "stroke_ms": round(median, 1),
        "stroke_ms_q25": round(low, 1),
        "stroke_ms_q75": round(high, 1),
        "stroke_ms_fastest": round(min(found["drawn"]), 1),
        "slider_ms": round(statistics.median(found["bent"]), 1),
        "longest_standstill_ms": round(found["stood"], 1),
        "page_mb": round(path.stat().st_size / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["capsnet_small", "capsnet"])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    rows = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        # As root, as in a container, Chromium runs without its sandbox only.
        arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        for name in options.models:
            model = create_model(name)
            path = Path(folder) / f"{name}.html"
            write_explorer(model, path)
            row = {
                "date": datetime.date.today().isoformat(),
                "model": name,
                "parameters": count_parameters(model),
                "iterations": 3,
                **measure(browser.new_page(), path, options.rounds),
                "rounds": options.rounds,
                "chromium": browser.version,
                "load_average": round(os.getloadavg()[0], 1),  # other work on the machine slows it
                **describe_machine(),
            }
            rows.append(row)
            print(
                f"{name:14} stroke → answer {row['stroke_ms']} ms "
                f"[{row['stroke_ms_q25']}, {row['stroke_ms_q75']}], "
                f"at best {row['stroke_ms_fastest']}   "
                f"slider → drawing {row['slider_ms']} ms   "
                f"the page stood still {row['longest_standstill_ms']} ms at most"
            )
        browser.close()
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
