"""Whether votes, activations and a mask fit each other, and the routing."""

from torch import Tensor

from torchcaps.types import check_bool_tensor, check_float_tensor
from torchcaps.votes import InterestVotes, Votes

__all__ = ["check_children", "check_interests", "check_sizes"]

AXES = {"in_caps": "I", "in_dim": "P", "out_caps": "J", "out_dim": "D"}


def check_sizes(votes: Votes, built_for: dict[str, int], routing: str) -> None:
    """Raise `ValueError` unless votes have components, and the numbers that it was built for.

    No input capsules at all are as good as any number: nothing votes.
    """
    if votes.shape[-1] == 0:
        raise ValueError(
            f"votes [..., I, J, D] must have at least one component, got {tuple(votes.shape)}"
        )
    pose = votes.in_pose
    children, parents, dim = votes.shape[-3:]
    got = {"in_caps": children, "out_caps": parents, "out_dim": dim}
    if pose is not None:
        got["in_dim"] = pose.shape[-1]
    for name, size in built_for.items():
        if name in got and got[name] != size and not (name == "in_caps" and children == 0):
            what = "pose [..., I, P]" if name == "in_dim" else "votes [..., I, J, D]"
            shape = tuple(pose.shape if name == "in_dim" and pose is not None else votes.shape)
            raise ValueError(
                f"{what} must have {AXES[name]} = {size}, the {name} that this {routing} was built "
                f"for, got {got[name]} (shape {shape})"
            )


def check_children(votes: Votes, activation: Tensor | None, mask: Tensor | None) -> None:
    """Raise `ValueError` or `TypeError` unless activation and mask are those of the children."""
    children = votes.shape[:-2]
    if activation is not None:
        check_float_tensor("activation", activation)
        if activation.shape != children:
            raise ValueError(
                f"activation must be [..., I] = {tuple(children)}, got {tuple(activation.shape)}"
            )
    if mask is not None:
        check_bool_tensor("mask", mask)
        if mask.shape != children:
            raise ValueError(f"mask must be [..., I] = {tuple(children)}, got {tuple(mask.shape)}")


def check_interests(
    votes: InterestVotes, routing: str, *, takes_logits: bool, counts_absent: bool
) -> None:
    """Raise `ValueError` if the routing would not heed what these votes say."""
    if votes.logits is not None and not takes_logits:
        raise ValueError(
            f"{routing} begins with logits of its own, and these InterestVotes have some: leave "
            "them out, or take InterestRouting"
        )
    if votes.present is not None and counts_absent:
        raise ValueError(
            f"what {routing} gives to an output capsule depends on those that are left out "
            "(InterestVotes.present), too: select the votes of the others, or take InterestRouting"
        )
