"""The mistakes of public implementations: the package passes every check, and the mistake does not.

A mistake is a subclass that overrides one method (reproduction/mistakes/mistakes.py). Number 15,
the best epoch on the test set reported as the result, is held in training/test_loop.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

from reproduction.mistakes import mistakes
from tests.routing.oracles import dynamic as dynamic_oracle
from tests.saved_for_backward import bytes_kept_for_backward
from torchcaps import (
    CapsNet,
    DenseCaps,
    DynamicRouting,
    EMRouting,
    LinearVotes,
    ModelOutput,
    PrimaryCaps,
    dynamic_routing,
    squash,
)


class Mistake(NamedTuple):
    name: str
    check: Callable[[Any], None]  # of a class
    right: type
    wrong: type


# 1. The softmax runs over the input capsules instead of the outputs.


def check_coupling_is_divided_among_outputs(kind: type[DynamicRouting]) -> None:
    votes = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    coupling = kind(3).trace(votes).coupling
    torch.testing.assert_close(coupling.sum(dim=-1), torch.ones(3, 2, 5, dtype=torch.float64))


# 2. Primary capsules are reshaped without a permutation.


def check_a_primary_capsule_is_the_channels_at_one_position(kind: type[PrimaryCaps]) -> None:
    layer = kind(2, types=3, dim=4, kernel_size=3, stride=1)
    features = torch.randn(1, 2, 6, 6)
    first = squash(layer.conv(features)[:, :4, 0, 0])
    torch.testing.assert_close(layer(features).pose[:, 0], first)


# 3. The routing logits are averaged over the batch.


def check_a_sample_does_not_depend_on_its_neighbours(kind: type[DynamicRouting]) -> None:
    votes = torch.randn(4, 6, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(kind(3)(votes).pose[:1], kind(3)(votes[:1]).pose)


# 4. squash over the class axis, or over all the capsules.


def check_every_capsule_is_squashed_by_itself(kind: type[DynamicRouting]) -> None:
    votes = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = dynamic_oracle.procedure_1(votes.numpy(), 1)["v"][-1]
    torch.testing.assert_close(kind(1)(votes).pose, torch.from_numpy(expected))


# 5. Predictions are softmaxed over the batch.


def check_a_batch_of_one_is_predicted_as_in_a_larger_one(kind: type[CapsNet]) -> None:
    model = kind(conv_channels=4, primary_types=2, reconstruct=False).eval()
    images = torch.rand(12, 1, 28, 28)
    classes = model(images).activation.argmax(dim=1)
    assert len(set(classes.tolist())) > 1, "the check needs images of several classes"
    assert torch.equal(torch.cat([model.predict(image[None]) for image in images]), classes)


# 6. NaN at a zero capsule, forward or backward.


def check_a_zero_capsule_is_finite_forward_and_backward(kind: type[DynamicRouting]) -> None:
    votes = torch.zeros(1, 2, 3, 4, requires_grad=True)
    pose, activation = kind(3)(votes)
    (pose.sum() + activation.sum()).backward()
    assert torch.isfinite(pose).all()
    assert votes.grad is not None
    assert torch.isfinite(votes.grad).all()


# 7. The lengths are softmaxed before the margin loss. 9. The margin loss is not squared.


def check_the_margin_loss_is_zero_where_it_can_be_and_squared_where_not(
    kind: type[CapsNet],
) -> None:
    model = kind(conv_channels=4, primary_types=2, reconstruct=False)
    images, labels = torch.rand(1, 1, 28, 28), torch.tensor([3])

    def loss(lengths: torch.Tensor) -> float:
        output = ModelOutput(torch.zeros(1, 10, 16), lengths, None)
        return model.loss(output, images, labels).classification.item()

    met = torch.full((1, 10), 0.1)
    met[0, 3] = 0.9
    assert loss(met) == 0
    assert loss(torch.zeros(1, 10)) == pytest.approx(0.81)


# 8. "3 iterations" are 4 passes, or the last update of the logits is computed for nothing.


def check_three_iterations_are_three_passes_and_two_updates(kind: type[DynamicRouting]) -> None:
    calls = {"couple": 0, "score": 0}

    class Counted(kind):  # type: ignore[valid-type, misc]
        by_tiles = False

        def couple(self, *arguments: Any) -> Any:
            calls["couple"] += 1
            return super().couple(*arguments)

        def score(self, *arguments: Any) -> Any:
            calls["score"] += 1
            return super().score(*arguments)

    trace = Counted(3).trace(torch.randn(2, 5, 3, 4))
    assert len(trace.pose) == 3
    assert calls == {"couple": 3, "score": 2}


# 10. The reconstruction term is a mean; the decoder is masked by the prediction while training.


def check_the_drawing_is_a_sum_over_pixels_of_the_true_class(kind: type[CapsNet]) -> None:
    model = kind(conv_channels=4, primary_types=2).train()
    model.classes.weight.data *= 50  # long poses: what is drawn depends on whose it is
    images, labels = torch.rand(6, 1, 28, 28), torch.arange(6)
    output = model(images, labels)
    assert not torch.equal(output.activation.argmax(dim=1), labels), "the check needs a mistake"
    assert model.decoder is not None
    drawn = model.decoder(output.pose, labels)
    expected = 0.0005 * ((drawn - images) ** 2).sum() / len(images)
    found = model.loss(output, images, labels).reconstruction
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


# 11. EM routing in which the activations of the input capsules cancel out.


def check_activations_of_the_inputs_have_an_effect(kind: type[EMRouting]) -> None:
    routing = kind(2, final_lambda=0.5).build(6, 4, 3, 4)
    activation = torch.rand(2, 6, requires_grad=True)
    pose, found = routing(torch.randn(2, 6, 3, 4), activation)
    (gradient,) = torch.autograd.grad(
        pose.square().sum() + found.sum(), activation, allow_unused=True, materialize_grads=True
    )
    assert gradient.abs().max() > 1e-2


# 12. squeeze() breaks at batch 1.


def check_a_batch_of_one_keeps_its_axis(kind: type[CapsNet]) -> None:
    model = kind(conv_channels=4, primary_types=2, num_classes=1)
    pose, activation, reconstruction = model(torch.rand(1, 1, 28, 28))
    assert (pose.shape, activation.shape) == ((1, 1, 16), (1, 1))
    assert reconstruction is not None
    assert reconstruction.shape == (1, 1, 28, 28)


# 13. W drawn from N(0, 1).


def check_weights_begin_small(kind: type[DenseCaps]) -> None:
    layer = kind(1152, 8, 10, 16)
    assert layer.weight.std() < 0.15
    pose = torch.nn.functional.normalize(torch.randn(2, 1152, 8), dim=-1) / 2
    assert layer(pose).activation.mean() < 0.9  # else squash passes no gradient


# 14. Memory: a broadcast product copies W for every sample, and keeps the copies for backward.


def check_no_copy_of_the_weights_is_kept_for_a_sample(kind: type[LinearVotes]) -> None:
    def kept(batch: int) -> int:
        weight = torch.randn(96, 10, 16, 8, requires_grad=True)
        votes = kind(torch.randn(batch, 96, 8), weight)
        return bytes_kept_for_backward(lambda: dynamic_routing(votes, backend="reference").pose)

    a_sample = (kept(24) - kept(8)) / 16
    u_hat = 96 * 10 * 16 * 4
    assert a_sample < 2 * u_hat, f"{a_sample / u_hat:.1f} times the votes are kept for a sample"


MISTAKES = [
    Mistake(
        "1 softmax over inputs",
        check_coupling_is_divided_among_outputs,
        DynamicRouting,
        mistakes.SoftmaxOverInputs,
    ),
    Mistake(
        "2 scrambled primary capsules",
        check_a_primary_capsule_is_the_channels_at_one_position,
        PrimaryCaps,
        mistakes.ScrambledPrimaryCaps,
    ),
    Mistake(
        "3 logits averaged over the batch",
        check_a_sample_does_not_depend_on_its_neighbours,
        DynamicRouting,
        mistakes.LogitsAveragedOverBatch,
    ),
    Mistake(
        "4 squash over classes",
        check_every_capsule_is_squashed_by_itself,
        DynamicRouting,
        mistakes.SquashOverClasses,
    ),
    Mistake(
        "4 squash over all capsules",
        check_every_capsule_is_squashed_by_itself,
        DynamicRouting,
        mistakes.SquashOverAll,
    ),
    Mistake(
        "5 softmax over the batch",
        check_a_batch_of_one_is_predicted_as_in_a_larger_one,
        CapsNet,
        mistakes.SoftmaxOverBatch,
    ),
    Mistake(
        "6 NaN at zero",
        check_a_zero_capsule_is_finite_forward_and_backward,
        DynamicRouting,
        mistakes.NaNAtZero,
    ),
    Mistake(
        "6 NaN at zero in backward alone",
        check_a_zero_capsule_is_finite_forward_and_backward,
        DynamicRouting,
        mistakes.NaNAtZeroInBackward,
    ),
    Mistake(
        "7 lengths softmaxed",
        check_the_margin_loss_is_zero_where_it_can_be_and_squared_where_not,
        CapsNet,
        mistakes.SoftmaxedLengths,
    ),
    Mistake(
        "8 a pass too many",
        check_three_iterations_are_three_passes_and_two_updates,
        DynamicRouting,
        mistakes.OnePassMore,
    ),
    Mistake(
        "8 an update for nothing",
        check_three_iterations_are_three_passes_and_two_updates,
        DynamicRouting,
        mistakes.UpdateForNothing,
    ),
    Mistake(
        "9 margin not squared",
        check_the_margin_loss_is_zero_where_it_can_be_and_squared_where_not,
        CapsNet,
        mistakes.UnsquaredMargin,
    ),
    Mistake(
        "10 mean over pixels",
        check_the_drawing_is_a_sum_over_pixels_of_the_true_class,
        CapsNet,
        mistakes.MeanOverPixels,
    ),
    Mistake(
        "10 decoder masked by the prediction",
        check_the_drawing_is_a_sum_over_pixels_of_the_true_class,
        CapsNet,
        mistakes.MaskedByPrediction,
    ),
    Mistake(
        "11 activations cancel",
        check_activations_of_the_inputs_have_an_effect,
        EMRouting,
        mistakes.ActivationsCancel,
    ),
    Mistake("12 squeeze", check_a_batch_of_one_keeps_its_axis, CapsNet, mistakes.Squeezed),
    Mistake("13 W from N(0, 1)", check_weights_begin_small, DenseCaps, mistakes.UnitNormalCaps),
    Mistake(
        "14 weights copied for every sample",
        check_no_copy_of_the_weights_is_kept_for_a_sample,
        LinearVotes,
        mistakes.BroadcastVotes,
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_the_package_passes_and_the_mistake_does_not(mistake: Mistake) -> None:
    assert issubclass(mistake.wrong, mistake.right)
    mistake.check(mistake.right)
    with pytest.raises(AssertionError):
        mistake.check(mistake.wrong)
