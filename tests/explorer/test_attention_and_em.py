"""The page's attention and EM routing, iteration by iteration, are PyTorch's."""

from typing import Any

import pytest
import torch

from tests.engine_page import from_text, to_text, write_engine_page
from torchcaps.routing import create_routing

TOLERANCE = 1e-4  # as for dynamic routing, of numbers up to 1; of larger ones that part

RUN = """
([votes, shape, activation, learned, settings]) => {
  const [I, J, D] = shape, E = globalThis.engine;
  const floats = Object.entries(learned).map(([name, text]) => [name, E.floats(text)]);
  const trace = E.route(
    { values: E.floats(votes), I, J, D, activation: E.floats(activation),
      learned: Object.fromEntries(floats) },
    settings,
  );
  return { logits: trace.logits.map(E.text), coupling: trace.coupling.map(E.text),
    pose: trace.poses.map(E.text), activation: trace.activations.map(E.text),
    last: E.text(trace.activation) };
}
"""

ROUTINGS: dict[str, dict[str, Any]] = {
    "attention": {"name": "attention"},
    "attention, one iteration": {"name": "attention", "iterations": 1},
    "attention, six iterations": {"name": "attention", "iterations": 6},
    "em": {"name": "em"},
    "em, one iteration": {"name": "em", "iterations": 1},
    "em, six iterations": {"name": "em", "iterations": 6},
    "em, lambda": {"name": "em", "final_lambda": 0.3},
    "em, lambda of 0": {"name": "em", "final_lambda": 0.0},
    "em, constant lambda": {"name": "em", "constant_lambda": True},
    "em, constant given lambda": {"name": "em", "final_lambda": 0.2, "constant_lambda": True},
    "em, scale": {"name": "em", "lambda_scale": 0.2},
    "em, floors": {"name": "em", "variance_floor": 0.02, "mass_floor": 0.5},
    "em, momentum": {"name": "em", "mean_momentum": 0.1, "mass_floor": 1e-5},
    "em, momentum alone": {"name": "em", "mean_momentum": 1.0},
    "em, whole": {"name": "em", "first_coupling": "whole", "mass_floor": 0.0},
    "em, all at once": {
        "name": "em", "iterations": 4, "final_lambda": 0.5, "mean_momentum": 0.4,
        "constant_lambda": True, "first_coupling": "whole", "variance_floor": 0.01,
    },
}  # fmt: skip
SHAPES = {"usual": (40, 10, 16), "odd": (13, 3, 5), "one input": (1, 4, 8), "one output": (9, 1, 6),
          "one number": (11, 4, 1), "one of all": (1, 1, 1)}  # fmt: skip


@pytest.fixture(scope="module")
def engine(browser, tmp_path_factory):
    page = browser.new_page()
    page.goto(write_engine_page(tmp_path_factory.mktemp("engine")).as_uri())
    yield page
    page.close()


@torch.no_grad()
def largest_differences(engine, config, votes, activation):
    """Route in both, with parameters drawn at random; name → largest difference.

    They are small, as votes of unit size want them: else one output takes all from the others, and
    what float32 leaves of these is rounding.
    """
    routing = create_routing(config).build(votes.shape[0], 8, *votes.shape[1:])
    for parameter in routing.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    learned = {name: to_text(value.numpy()) for name, value in routing.state_dict().items()}
    settings = {"name": routing.name, **routing.options()}
    given = [to_text(votes.numpy()), list(votes.shape), to_text(activation.numpy())]
    answer = engine.evaluate(RUN, [*given, learned, settings])
    trace = routing.trace(votes, activation)
    assert answer["last"] == answer["activation"][-1]
    found = {}
    for name, all_of_it in trace._asdict().items():
        texts = answer[name]
        assert len(texts) == routing.iterations
        ours = torch.stack(
            [torch.from_numpy(from_text(t, *all_of_it.shape[1:]).copy()) for t in texts]
        )
        assert ours.isfinite().all()
        size = all_of_it.abs().clamp(min=1)
        found[name] = float(((ours - all_of_it).abs() / size).max())
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ROUTINGS)
def test_every_iteration_is_that_of_pytorch(engine, name, shape):
    votes = torch.randn(SHAPES[shape]) + torch.randn(SHAPES[shape][1:])
    found = largest_differences(engine, ROUTINGS[name], votes, torch.rand(len(votes)))
    print(found)
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("size", [1e-6, 1e4, 1e9])
@pytest.mark.parametrize("name", ["attention", "em"])
def test_votes_of_any_size(engine, name, size):
    votes = size * (torch.randn(9, 3, 4) + torch.randn(3, 4))
    found = largest_differences(engine, ROUTINGS[name], votes, torch.rand(9))
    assert max(found.values()) <= TOLERANCE, found
