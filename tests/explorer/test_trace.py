"""The trace of the shipped network is what its page computes."""

import torch

from tests.engine_page import from_text, to_text, write_engine_page
from torchcaps import load_pretrained
from torchcaps.data import load_data
from torchcaps.explorer.export import page_data


@torch.no_grad()
def test_the_trace_of_the_shipped_network_is_what_the_page_computes(open_page, tmp_path) -> None:
    model = load_pretrained("digits")
    images = load_data("mnist5k").test.batch(torch.arange(20))[0]
    trace = model.trace(images)
    page = open_page(write_engine_page(tmp_path))
    page.evaluate("(data) => { globalThis.model = engine.readModel(data); }", page_data(model))
    answers = page.evaluate(
        """([images, size]) => {
          const E = globalThis.engine, pixels = E.floats(images);
          return Array.from({ length: pixels.length / size }, (_, n) => {
            const primary = E.primaryCapsules(model, pixels.subarray(n * size, (n + 1) * size));
            const trace = E.route(E.allVotes(model, primary), model.config.routing);
            return { primary: E.text(primary), logits: trace.logits.map(E.text),
              coupling: trace.coupling.map(E.text), pose: trace.poses.map(E.text) };
          });
        }""",
        [to_text(images.numpy()), 28 * 28],
    )
    largest = 0.0
    for n, answer in enumerate(answers):
        pairs = [(answer["primary"], trace["primary"].pose[n])]
        for name in ("logits", "coupling", "pose"):
            pairs += zip(answer[name], getattr(trace["classes"], name)[:, n], strict=True)
        for text, expected in pairs:
            difference = torch.from_numpy(from_text(text, *expected.shape).copy()) - expected
            largest = max(largest, float(difference.abs().max()))
    print(f"largest difference between page and trace: {largest:.1e}")
    assert largest < 1e-4
