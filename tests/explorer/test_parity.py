"""What the page's engine computes in a browser is what the PyTorch model computes."""

import base64
import copy
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine_page import from_text, to_text, with_statistics, write_engine_page
from torchcaps.data import load_data
from torchcaps.explorer import SHIPPED
from torchcaps.explorer.export import page_data
from torchcaps.explorer.network import page_model
from torchcaps.models import CapsNet, ImageCapsNet, create_model, load_model
from torchcaps.models.conv_decoder import ConvDecoder
from torchcaps.routing import dynamic_routing_trace

TOLERANCE = 1e-4
ITERATIONS = (1, 2, 3, 4, 5)

ALL_OF_IT = """
([images, size, iterations]) => {
  const E = globalThis.engine, model = globalThis.model;
  const pixels = E.floats(images);
  return Array.from({ length: pixels.length / size }, (_, n) => {
    const primary = E.primaryCapsules(model, pixels.subarray(n * size, (n + 1) * size));
    const votes = E.allVotes(model, primary);
    return { primary: E.text(primary), runs: iterations.map((r) => {
      const trace = E.route(votes, { ...model.config.routing, iterations: r });
      const pose = trace.poses[r - 1];
      const found = trace.activation;
      const shown = found.indexOf(Math.max(...found));
      const drawn = E.reconstruct(model, pose, shown);
      return { shown, logits: trace.logits.map(E.text), coupling: trace.coupling.map(E.text),
        poses: trace.poses.map(E.text), activations: trace.activations.map(E.text),
        last: E.text(found), drawn: drawn && E.text(drawn) };
    }) };
  });
}
"""


@pytest.fixture
def engine(open_page, tmp_path):
    return open_page(write_engine_page(tmp_path))


def rounded(model):
    """The model with its weights as fp16 has them."""
    return model.eval().half().float()


def load_into(page, model):
    data = page_data(model)
    page.evaluate("(data) => { globalThis.model = engine.readModel(data); }", data)


# What the page's engine calls each part of a trace.
TRACED = {
    "logits": "logits", "coupling": "coupling", "poses": "pose", "activations": "activation",
}  # fmt: skip


def traced(model, primary, iterations):
    """What the class capsules do with these primary capsules, in so many iterations."""
    routing = copy.deepcopy(model.classes.routing)
    routing.iterations = iterations
    return routing.trace(model.classes.votes(primary), primary.activation)


@torch.no_grad()
def largest_differences(page, model, images, iterations=ITERATIONS):
    """Run the images through both; name → largest absolute difference."""
    load_into(page, model)
    size = images[0].numel()
    found = dict.fromkeys(["primary", *TRACED, "drawn"], 0.0)

    def compare(name, text, expected):
        ours = from_text(text, *expected.shape)
        assert np.isfinite(ours).all()
        error = (torch.from_numpy(ours.copy()) - expected).abs()
        if name == "logits" and model.classes.routing.name == "em":
            error = error / expected.abs().max().clamp(min=1)  # log densities, of any size
        found[name] = max(found[name], float(error.max()))

    for some in images.split(25):
        answers = page.evaluate(ALL_OF_IT, [to_text(some.numpy()), size, list(iterations)])
        primary = model.primary_capsules(some)
        traces = [traced(model, primary, r) for r in iterations]
        for n, answer in enumerate(answers):
            compare("primary", answer["primary"], primary.pose[n])
            for r, run, trace in zip(iterations, answer["runs"], traces):
                for name, field in TRACED.items():
                    assert len(run[name]) == r
                    for text, expected in zip(run[name], getattr(trace, field)[:, n]):
                        compare(name, text, expected)
                activation = trace.activation[-1, n]
                assert run["last"] == run["activations"][-1]
                assert activation[run["shown"]] >= activation.max() - 1e-5
                if model.decoder is None:
                    assert run["drawn"] is None
                else:
                    drawn = model.decoder(trace.pose[-1, n][None], torch.tensor([run["shown"]]))
                    compare("drawn", run["drawn"], drawn[0])
    return found


def check(found):
    print(found)
    assert max(found.values()) <= TOLERANCE, found


def digits(count):
    return load_data("mnist5k").test.batch(torch.arange(0, 1000, 1000 // count))[0]


def test_the_shipped_network_on_200_digits(engine):
    check(largest_differences(engine, rounded(load_model(SHIPPED)), digits(200)))


def test_the_network_of_pairs_on_40_pairs(engine):
    pairs = torch.maximum(digits(40), digits(40).flip(0))
    check(largest_differences(engine, rounded(load_model("digit-pairs")), pairs))


def test_random_weights_on_50_digits(engine):
    check(largest_differences(engine, rounded(create_model("capsnet_small")), digits(50)))


def test_the_network_of_the_paper(engine):
    check(largest_differences(engine, rounded(create_model("capsnet")), digits(4)))


LEAKY = {"name": "dynamic", "leaky": True}
EM = {"name": "em", "mean_momentum": 0.1, "final_lambda": 0.3, "first_coupling": "whole",
      "variance_floor": 0.01}  # fmt: skip
SMALL: dict[str, Any] = {"conv_channels": 6, "primary_types": 3, "num_classes": 3}
OTHERS: dict[str, dict[str, Any]] = {
    "colour": {**SMALL, "image_size": 20, "channels": 3},
    "not square": {**SMALL, "image_size": [19, 30], "channels": 2},
    "leaky": {**SMALL, "image_size": 20, "routing": LEAKY},
    "attention": {**SMALL, "image_size": 20, "routing": "attention"},
    "em": {**SMALL, "image_size": 20, "routing": "em"},
    "em with options": {**SMALL, "image_size": 20, "routing": EM, "reconstruct": False},
    "bias": {**SMALL, "image_size": 20, "routing_bias": True},
    "strides": {**SMALL, "image_size": [41, 37], "conv_stride": 2, "primary_stride": 3},
    "kernel": {**SMALL, "image_size": 23, "kernel_size": 4},
    "dimensions": {**SMALL, "image_size": 17, "primary_dim": 5, "pose_dim": 7},
    "no decoder": {**SMALL, "image_size": 17, "reconstruct": False},
    "decoder without hidden layers": {**SMALL, "image_size": 17, "decoder_hidden": []},
    "deep decoder": {**SMALL, "image_size": 17, "decoder_hidden": [9, 6, 13]},
    "one class": {**SMALL, "image_size": 17, "num_classes": 1},
    "all at once": {
        "image_size": [27, 33], "channels": 3, "num_classes": 5, "conv_channels": 7,
        "primary_types": 2, "primary_dim": 3, "pose_dim": 9, "routing": LEAKY, "routing_bias": True,
        "kernel_size": 5, "conv_stride": 2, "primary_stride": 2, "decoder_hidden": [10],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks(engine, name):
    model = CapsNet(**OTHERS[name])
    for own_name, parameter in model.named_parameters():
        if own_name.startswith("classes.routing"):  # a start that goes with the votes
            parameter.data += 0.3 * torch.randn_like(parameter)
        elif own_name == "classes.weight" and model.classes.routing.name == "em":
            torch.nn.init.normal_(parameter, std=0.1)
        else:  # louder than at the start, so that routing has to move
            torch.nn.init.normal_(parameter, std=0.3)
    found = largest_differences(
        engine, rounded(model), torch.rand(6, model.channels, *model.image_size)
    )
    check(found)


IMAGES: dict[str, dict[str, Any]] = {
    "28 px grey": {"image_size": 28},
    "32 px RGB without decoder": {"image_size": 32, "channels": 3, "reconstruct": False},
    "64 px RGB with a decoder of convolutions": {"image_size": 64, "channels": 3},
    "17 px padded": {"image_size": 17},
    "1 px": {"image_size": 1},
    "not square": {"image_size": [41, 58], "channels": 2},
    "three halvings": {"image_size": 100},
    "kernels": {"image_size": 20, "kernel_size": 7, "primary_kernel_size": 2, "primary_stride": 3},
    "even kernel": {"image_size": 16, "kernel_size": 4, "halvings": 2},
    "leaky, bias": {"image_size": 24, "routing": LEAKY, "routing_bias": True},
    "attention, bias": {"image_size": 24, "routing": "attention", "routing_bias": True},
    "em, bias": {"image_size": 24, "routing": "em", "routing_bias": True},
    "em, one class": {"image_size": 20, "routing": EM, "num_classes": 1, "pose_dim": 5},
}
FEW: dict[str, Any] = {"num_classes": 3, "primary_types": 4, "mean": 0.4, "std": 0.2}


@pytest.mark.parametrize("name", IMAGES)
def test_networks_for_images_of_any_size(engine, name):
    model = with_statistics(ImageCapsNet(**{**FEW, **IMAGES[name]}))
    torch.nn.init.normal_(model.classes.weight, std=0.3)  # so that routing has to move
    assert isinstance(model.decoder, ConvDecoder) == (max(model.image_size) > 40)
    images = torch.rand(4, model.channels, *model.image_size)
    check(largest_differences(engine, page_model(model), images))


def test_the_usual_network_on_digits(engine):
    model = with_statistics(ImageCapsNet(mean=0.13, std=0.31))
    check(largest_differences(engine, page_model(model), digits(8)))


def test_evaluate_is_all_of_it(engine):
    model = rounded(load_model(SHIPPED))
    load_into(engine, model)
    image = digits(5)[:1]
    answer = engine.evaluate(
        """(image) => {
          const found = engine.evaluate(model, engine.floats(image), 4);
          return { ...found, primary: null, pose: engine.text(found.trace.poses[3]),
            iterations: found.trace.sums.length, activation: engine.text(found.activation),
            reconstruction: engine.text(found.reconstruction), trace: null };
        }""",
        to_text(image.numpy()),
    )
    with torch.no_grad():
        model.classes.routing.iterations = 4
        output = model(image)
    assert answer["iterations"] == 4
    assert answer["shown"] == output.activation.argmax().item()
    for name, expected in [("pose", output.pose), ("activation", output.activation),
                           ("reconstruction", output.reconstruction)]:  # fmt: skip
        assert np.abs(from_text(answer[name], *expected.shape) - expected.numpy()).max() < TOLERANCE


def test_votes_of_one_capsule(engine):
    model = CapsNet(image_size=20, routing_bias=True, **SMALL)
    torch.nn.init.normal_(model.classes.bias)
    model = rounded(model)
    load_into(engine, model)
    primary = torch.rand(model.classes.weight.shape[0], 8)
    with torch.no_grad():
        votes = model.classes.votes(primary[None]).materialize()[0]
    for i in (0, 5, len(votes) - 1):
        text = engine.evaluate(
            "([primary, i]) => engine.text(engine.votesOf(model, engine.floats(primary), i))",
            [to_text(primary.numpy()), i],
        )
        assert np.abs(from_text(text, *votes[i].shape) - votes[i].numpy()).max() < 1e-5


def test_every_fp16_number(engine):
    halves = np.arange(65536, dtype="<u2").view("<f2")
    text = engine.evaluate(
        "(text) => engine.text(engine.floatsFromBase64(text))",
        base64.b64encode(halves.tobytes()).decode(),
    )
    np.testing.assert_array_equal(from_text(text, -1), halves.astype(np.float32))


def test_extreme_sums_are_squashed_without_nan(engine):
    rows = np.array([[0, 0], [1e-30, 0], [3e30, 4e30], [3, 4]], np.float32)
    text = engine.evaluate("(s) => engine.text(engine.squash(engine.floats(s), 2))", to_text(rows))
    expected = np.array([[0, 0], [0, 0], [0.6, 0.8], [75 / 130, 100 / 130]])
    np.testing.assert_allclose(from_text(text, 4, 2), expected, atol=1e-6)


def test_entropy_and_change(engine):
    """Against the definitions, on votes that routing sharpens."""
    votes = torch.randn(40, 4, 6)
    for leaky in (False, True):
        trace = dynamic_routing_trace(votes, 4, leaky=leaky)
        found = engine.evaluate(
            """([votes, leaky]) => {
              const trace = engine.route(
                { values: engine.floats(votes), I: 40, J: 4, D: 6 },
                { name: "dynamic", iterations: 4, leaky });
              return { entropies: engine.entropies(trace), changes: engine.meanChange(trace) };
            }""",
            [to_text(votes.numpy()), leaky],
        )
        c = trace.coupling.double()
        if leaky:
            c = torch.cat([c, 1 - c.sum(-1, keepdim=True)], dim=-1)
        entropies = -(c * c.log()).sum(-1).mean(-1)
        assert found["entropies"] == pytest.approx(entropies.tolist(), abs=1e-5)
        changes = trace.logits.diff(dim=0).abs().mean(dim=(1, 2))
        assert found["changes"] == pytest.approx(changes.tolist(), abs=1e-5)
