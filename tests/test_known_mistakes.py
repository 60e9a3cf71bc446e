"""How public implementations get capsules wrong: each mistake has a check, and is seen to fail it.

Every check is a function that raises AssertionError. The package must pass it; the mistake, put
into the package's place, must not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import torchcaps
from tests.routing.oracles import dynamic as dynamic_oracle
from tests.saved_for_backward import bytes_kept_for_backward
from torchcaps import (
    CapsNet,
    DenseCaps,
    LinearVotes,
    PrimaryCaps,
    dynamic_routing,
    margin_loss,
    reconstruction_loss,
    squash,
)
from torchcaps.models.classifier import Classifier
from torchcaps.routing import dynamic

Patch = pytest.MonkeyPatch


class Mistake(NamedTuple):
    name: str
    check: Callable[[], None]
    make: Callable[[Patch], None]


# 1. The softmax runs over the input capsules instead of the outputs.


def check_coupling_is_divided_among_outputs() -> None:
    votes = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    coupling = dynamic.dynamic_routing_trace(votes, 3).coupling
    torch.testing.assert_close(coupling.sum(dim=-1), torch.ones(3, 2, 5, dtype=torch.float64))


def softmax_over_inputs(patch: Patch) -> None:
    softmax = torch.softmax
    patch.setattr(dynamic.torch, "softmax", lambda b, dim: softmax(b, dim=-2))


# 2. Primary capsules are reshaped without a permutation.


def check_a_primary_capsule_is_the_channels_at_one_position() -> None:
    layer = PrimaryCaps(2, types=3, dim=4, kernel_size=3, stride=1)
    features = torch.randn(1, 2, 6, 6)
    first = squash(layer.conv(features)[:, :4, 0, 0])
    torch.testing.assert_close(layer(features).pose[:, 0], first)


def no_permutation(patch: Patch) -> None:
    def forward(self: PrimaryCaps, features: Tensor) -> torchcaps.Capsules:
        pose = squash(self.conv(features).reshape(len(features), -1, self.dim))
        return torchcaps.Capsules(pose, pose.norm(dim=-1))

    patch.setattr(PrimaryCaps, "forward", forward)


# 3. The routing logits are averaged over the batch.


def check_a_sample_does_not_depend_on_its_neighbours() -> None:
    votes = torch.randn(4, 6, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(dynamic_routing(votes).pose[:1], dynamic_routing(votes[:1]).pose)


def logits_averaged_over_the_batch(patch: Patch) -> None:
    right = dynamic.agreement
    patch.setattr(dynamic, "agreement", lambda u, v: right(u, v).mean(dim=0).expand(len(u), -1, -1))


# 4. squash over the class axis, or over all the capsules.


def check_every_capsule_is_squashed_by_itself() -> None:
    votes = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = dynamic_oracle.procedure_1(votes.numpy(), 1)["v"][-1]
    torch.testing.assert_close(dynamic_routing(votes, 1).pose, torch.from_numpy(expected))


def squash_over_the_classes(patch: Patch) -> None:
    patch.setattr(dynamic, "squash", lambda s: squash(s, dim=-2))


def squash_over_all_capsules(patch: Patch) -> None:
    patch.setattr(dynamic, "squash", lambda s: squash(s.flatten(1)).view_as(s))


# 5. Predictions are softmaxed over the batch.


def check_a_batch_of_one_is_predicted_as_in_a_larger_one() -> None:
    model = CapsNet(conv_channels=4, primary_types=2, reconstruct=False).eval()
    images = torch.rand(12, 1, 28, 28)
    together = model.predict(images)
    assert len(set(together.tolist())) > 1, "the check needs images of several classes"
    assert torch.equal(torch.cat([model.predict(image[None]) for image in images]), together)


def softmax_over_the_batch(patch: Patch) -> None:
    def predict(self: Classifier, images: Tensor) -> Tensor:
        return torch.softmax(self(images).activation, dim=0).argmax(dim=1)

    patch.setattr(Classifier, "predict", predict)


# 6. NaN at a zero capsule, forward or backward.


def check_a_zero_capsule_is_finite_forward_and_backward() -> None:
    votes = torch.zeros(1, 2, 3, 4, requires_grad=True)
    pose, activation = dynamic_routing(votes)
    (pose.sum() + activation.sum()).backward()
    assert torch.isfinite(pose).all()
    assert torch.isfinite(votes.grad).all()


def squash_without_care(patch: Patch) -> None:
    def naive(s: Tensor) -> Tensor:
        n = s.norm(dim=-1, keepdim=True)
        return n**2 / (1 + n**2) * s / n

    patch.setattr(dynamic, "squash", naive)


def squash_with_nan_in_backward_alone(patch: Patch) -> None:
    def naive(s: Tensor) -> Tensor:
        n = (s * s).sum(dim=-1, keepdim=True).sqrt()
        return n / (1 + n**2) * s

    patch.setattr(dynamic, "squash", naive)


# 7. The lengths are softmaxed before the margin loss. 9. The margin loss is not squared.


def check_the_margin_loss_is_zero_where_it_can_be_and_squared_where_not() -> None:
    met = torch.full((1, 10), 0.1)
    met[0, 3] = 0.9
    assert torchcaps.margin_loss(met, torch.tensor([3])) == 0
    missed = torch.zeros(1, 10)
    assert torchcaps.margin_loss(missed, torch.tensor([3])).item() == pytest.approx(0.81)


def lengths_softmaxed(patch: Patch) -> None:
    patch.setattr(torchcaps, "margin_loss", lambda v, y: margin_loss(v.softmax(dim=1), y))


def margin_not_squared(patch: Patch) -> None:
    patch.setattr(
        torchcaps, "margin_loss", lambda v, y: (0.9 - v.gather(1, y[:, None])).clamp(min=0).mean()
    )


# 8. "3 iterations" are 4 passes, or the last update of the logits is computed for nothing.


def check_three_iterations_are_three_passes_and_two_updates() -> None:
    passes, updates = [], []
    softmax, agreement = torch.softmax, dynamic.agreement
    with pytest.MonkeyPatch.context() as counting:
        counting.setattr(
            dynamic.torch, "softmax", lambda b, dim: passes.append(1) or softmax(b, dim=dim)
        )
        counting.setattr(dynamic, "agreement", lambda u, v: updates.append(1) or agreement(u, v))
        dynamic_routing(torch.randn(2, 5, 3, 4), 3)
    assert (len(passes), len(updates)) == (3, 2)


def one_pass_more(patch: Patch) -> None:
    right = dynamic.procedure_1
    patch.setattr(dynamic, "procedure_1", lambda u, r, **kw: right(u, r + 1, **kw))


def an_update_for_nothing(patch: Patch) -> None:
    right = dynamic.procedure_1

    def wasteful(u_hat: Tensor, iterations: int, **options: bool) -> Iterator[tuple[Tensor, ...]]:
        for b, c, v in right(u_hat, iterations, **options):
            yield b, c, v
        dynamic.agreement(u_hat, v)

    patch.setattr(dynamic, "procedure_1", wasteful)


# 10. The reconstruction term is a mean; the decoder is masked by the prediction while training.


def check_the_drawing_is_a_sum_over_pixels_of_the_true_class() -> None:
    model = CapsNet(conv_channels=4, primary_types=2).train()
    model.classes.weight.data *= 50  # long poses: what is drawn depends on whose it is
    images, labels = torch.rand(6, 1, 28, 28), torch.arange(6)
    output = model(images, labels)
    assert not torch.equal(output.activation.argmax(dim=1), labels), "the check needs a mistake"
    drawn = model.decoder(output.pose, labels)
    expected = 0.0005 * ((drawn - images) ** 2).sum() / len(images)
    found = model.loss(output, images, labels).reconstruction
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def mean_over_pixels(patch: Patch) -> None:
    patch.setattr(
        "torchcaps.models.capsnet.reconstruction_loss",
        lambda a, b: reconstruction_loss(a, b) / a[0].numel(),
    )


def masked_by_the_prediction(patch: Patch) -> None:
    right = CapsNet.forward
    patch.setattr(CapsNet, "forward", lambda self, images, labels=None: right(self, images))


# 12. squeeze() breaks at batch 1.


def check_a_batch_of_one_keeps_its_axis() -> None:
    model = CapsNet(conv_channels=4, primary_types=2, num_classes=1)
    pose, activation, reconstruction = model(torch.rand(1, 1, 28, 28))
    assert (pose.shape, activation.shape) == ((1, 1, 16), (1, 1))
    assert reconstruction.shape == (1, 1, 28, 28)


def squeezed(patch: Patch) -> None:
    right = dynamic.fused_pose
    patch.setattr(dynamic, "fused_pose", lambda *arguments: right(*arguments).squeeze())


# 13. W drawn from N(0, 1).


def check_weights_begin_small() -> None:
    assert DenseCaps(32, 8, 10, 16).weight.std() < 0.15


def weights_of_unit_variance(patch: Patch) -> None:
    patch.setattr(DenseCaps, "reset_parameters", lambda self: nn.init.normal_(self.weight))


# 14. Memory: a broadcast product copies W for every sample, and keeps the copies for backward.


def check_no_copy_of_the_weights_is_kept_for_a_sample() -> None:
    def kept(batch: int) -> int:
        weight = torch.randn(96, 10, 16, 8, requires_grad=True)
        votes = LinearVotes(torch.randn(batch, 96, 8), weight)
        return bytes_kept_for_backward(votes, backend="reference")

    a_sample = (kept(24) - kept(8)) / 16
    u_hat = 96 * 10 * 16 * 4
    assert a_sample < 2 * u_hat, f"{a_sample / u_hat:.1f} times the votes are kept for each sample"


def weights_broadcast_over_the_batch(patch: Patch) -> None:
    def materialize(self: LinearVotes) -> Tensor:
        weight = self.weight.expand(len(self.pose), *self.weight.shape).contiguous()
        return (weight @ self.pose[:, :, None, :, None]).squeeze(-1)

    patch.setattr(LinearVotes, "materialize", materialize)


MISTAKES = [
    Mistake("1 softmax over inputs", check_coupling_is_divided_among_outputs, softmax_over_inputs),
    Mistake(
        "2 scrambled primary capsules",
        check_a_primary_capsule_is_the_channels_at_one_position,
        no_permutation,
    ),
    Mistake(
        "3 logits averaged over the batch",
        check_a_sample_does_not_depend_on_its_neighbours,
        logits_averaged_over_the_batch,
    ),
    Mistake(
        "4 squash over classes", check_every_capsule_is_squashed_by_itself, squash_over_the_classes
    ),
    Mistake(
        "4 squash over all capsules",
        check_every_capsule_is_squashed_by_itself,
        squash_over_all_capsules,
    ),
    Mistake(
        "5 softmax over the batch",
        check_a_batch_of_one_is_predicted_as_in_a_larger_one,
        softmax_over_the_batch,
    ),
    Mistake(
        "6 NaN at zero", check_a_zero_capsule_is_finite_forward_and_backward, squash_without_care
    ),
    Mistake(
        "6 NaN at zero in backward alone",
        check_a_zero_capsule_is_finite_forward_and_backward,
        squash_with_nan_in_backward_alone,
    ),
    Mistake(
        "7 lengths softmaxed",
        check_the_margin_loss_is_zero_where_it_can_be_and_squared_where_not,
        lengths_softmaxed,
    ),
    Mistake(
        "8 a pass too many",
        check_three_iterations_are_three_passes_and_two_updates,
        one_pass_more,
    ),
    Mistake(
        "8 an update for nothing",
        check_three_iterations_are_three_passes_and_two_updates,
        an_update_for_nothing,
    ),
    Mistake(
        "9 margin not squared",
        check_the_margin_loss_is_zero_where_it_can_be_and_squared_where_not,
        margin_not_squared,
    ),
    Mistake(
        "10 mean over pixels",
        check_the_drawing_is_a_sum_over_pixels_of_the_true_class,
        mean_over_pixels,
    ),
    Mistake(
        "10 decoder masked by the prediction",
        check_the_drawing_is_a_sum_over_pixels_of_the_true_class,
        masked_by_the_prediction,
    ),
    Mistake("12 squeeze", check_a_batch_of_one_keeps_its_axis, squeezed),
    Mistake("13 W from N(0, 1)", check_weights_begin_small, weights_of_unit_variance),
    Mistake(
        "14 weights copied for every sample",
        check_no_copy_of_the_weights_is_kept_for_a_sample,
        weights_broadcast_over_the_batch,
    ),
]
# 11 (input activations that cancel out) is a mistake of EM routing, which is not here;
# 15 (the best epoch on the test set) is held in training/test_loop.py.


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_the_package_passes_and_the_mistake_does_not(mistake: Mistake) -> None:
    mistake.check()
    # A squeezed axis ends in an error of its own; every other mistake runs, and is found out.
    expected = IndexError if mistake.make is squeezed else AssertionError
    with broken(mistake), pytest.raises(expected):
        mistake.check()
    mistake.check()


@contextmanager
def broken(mistake: Mistake) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        mistake.make(patch)
        yield
