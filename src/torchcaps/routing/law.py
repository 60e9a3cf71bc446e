"""What holds for some algorithms and not for others."""

from enum import Enum

__all__ = ["Law"]


class Law(Enum):
    """What holds for an algorithm beyond what holds for all; the tests hold it to its own."""

    ODD = "opposite votes give opposite poses"
    ROTATION_EQUIVARIANT = "votes that are all rotated give poses that are rotated likewise"
    LENGTH_IS_ACTIVATION = "the activation is the length of the pose"
    INPUT_ORDER_IS_FREE = "the order of the input capsules does not matter"
    COUPLING_SHARES_ONE_UNIT = "the couplings of an input capsule sum to 1"
    INACTIVE_INPUTS_HAVE_NO_INFLUENCE = "an input capsule with activation 0 changes nothing"
