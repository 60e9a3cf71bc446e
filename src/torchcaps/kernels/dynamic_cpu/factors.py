"""What the factors of a call have in common, however the loops take them."""

from abc import ABC, abstractmethod

from torch import Tensor

__all__ = ["Factors"]


class Factors(ABC):
    """Poses u and weights of a call with J output capsules, and the sweeps over their votes."""

    J: int
    u: Tensor

    @abstractmethod
    def route(self, iterations: int, leaky: bool) -> tuple[Tensor, Tensor]:
        """v^r `[B, J, D]`; A and s of every iteration, `[2, r, N, R, L]`."""

    def backward(
        self, upstream: Tensor, history: Tensor, leaky: bool, detach: bool
    ) -> tuple[Tensor, Tensor]:
        """The gradients of the poses and of the weights, from that of v^r."""
        ds = self.route_backward(upstream, history, leaky, detach)
        return self.gradients(history[0], ds, leaky, detach)

    @abstractmethod
    def route_backward(
        self, upstream: Tensor, history: Tensor, leaky: bool, detach: bool
    ) -> Tensor:
        """ds of every iteration `[r, N, R, L]`, from the gradient of v^r."""

    @abstractmethod
    def gradients(self, a: Tensor, ds: Tensor, leaky: bool, detach: bool) -> tuple[Tensor, Tensor]:
        """Those of the poses and of the weights, from A and ds of all iterations."""

    def uniform_coupling(self, leaky: bool) -> object:
        """c_ij of the first iteration, a scalar of the votes' dtype."""
        return self.u.numpy().dtype.type(1 / (self.J + 1 if leaky else self.J))
