"""The votes of one layer of capsules for the next, in every form that routing takes."""

from torchcaps.votes.base import FormedVotes, Votes, WrappedVotes, as_votes
from torchcaps.votes.convolved import ConvolvedVotes, MapVotes
from torchcaps.votes.interests import InterestVotes
from torchcaps.votes.pose import PoseVotes
from torchcaps.votes.shared import SharedVotes
from torchcaps.votes.weighted import LinearVotes, MatrixVotes, WeightedVotes
from torchcaps.votes.windows import Windows, WindowVotes

__all__ = [
    "ConvolvedVotes",
    "FormedVotes",
    "InterestVotes",
    "LinearVotes",
    "MapVotes",
    "MatrixVotes",
    "PoseVotes",
    "SharedVotes",
    "Votes",
    "WeightedVotes",
    "WindowVotes",
    "Windows",
    "WrappedVotes",
    "as_votes",
]
