"""Routings by name: what is answered to a wrong one, and how one's own are registered."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from torchcaps import CapsNet, DynamicRouting, InputError, LinearVotes, load_model
from torchcaps.routing import ROUTINGS, create_routing, list_routings, register_routing
from torchcaps.routing.registry import routing_config


@pytest.fixture(autouse=True)
def rows_as_before() -> Iterator[None]:
    before = dict(ROUTINGS._rows)
    yield
    ROUTINGS._rows.clear()
    ROUTINGS._rows.update(before)


def test_every_row_has_its_own_name() -> None:
    for name in list_routings():
        assert ROUTINGS[name].name == name
        assert ROUTINGS[name].paper.year > 2000
        assert create_routing(name).options() == create_routing({"name": name}).options()


def test_names_dicts_and_routings_are_taken() -> None:
    assert create_routing("dynamic").iterations == 3
    assert create_routing({"name": "dynamic", "iterations": 2}).iterations == 2
    assert create_routing({"name": "dynamic", "iterations": 2}, iterations=4).iterations == 4
    routing = DynamicRouting(5)
    assert create_routing(routing) is routing


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("dynamc", "no routing is called 'dynamc': did you mean dynamic"),
        ("", "no routing is called ''"),
        ({"iterations": 3}, "the routing .*iterations.* has no .name.: write an"),
        ({"name": 3}, "no routing is called 3"),
        ({"name": "em", "iteration": 3}, "em routing has no option 'iteration': did you mean iter"),
        ({"name": "em", "leaky": True}, "em routing has no option 'leaky': .*it has iterations"),
        ({"name": "dynamic", "iterations": 0}, "dynamic routing: iterations must be at least 1"),
        ({"name": "dynamic", "leaky": 1}, "dynamic routing: leaky must be True or False, got 1"),
        (
            {"name": "dynamic", "squash": "flat"},
            "squash must be one of squash, half, soft, direction, got 'flat'",
        ),
        ({"name": "em", "final_lambda": -1}, "final_lambda must be at least 0, got -1"),
        ({"name": "em", "final_lambda": float("nan")}, "final_lambda must be at least 0, got nan"),
        ({"name": "em", "final_lambda": "big"}, "final_lambda must be a number, got 'big'"),
        ({"name": "em", "variance_floor": 0}, "variance_floor must be at least 1e-12, got 0"),
        ({"name": "em", "mean_momentum": 2}, "mean_momentum must be at least 0, at most 1, got 2"),
        ({"name": "em", "detach": None}, "detach must be True or False, got None"),
        ({"name": "dynamic", "backend": "gpu"}, "backend must be one of auto, cuda"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(asked: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as answer:
        create_routing(asked)
    assert "\n" not in str(answer.value)


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="routing must be a name, a dict with a name, or a Routing"):
        create_routing(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="two names, 'em' and 'kde': leave out one"):
        create_routing("em", name="kde")
    with pytest.raises(TypeError, match="DynamicRouting has its options already: set leaky on it"):
        create_routing(DynamicRouting(3), leaky=True)


class Mine(DynamicRouting):
    """Line 4 by another temperature."""

    name = "mine"

    def __init__(self, iterations: int = 3, *, temperature: float = 1.0) -> None:
        super().__init__(iterations)
        self.temperature = temperature

    def couple(self, tile: Any, logits: Any) -> Any:
        return super().couple(tile, logits / self.temperature)


def test_ones_own_routing_is_registered_saved_and_loaded(tmp_path: Any) -> None:
    model = CapsNet(conv_channels=2, primary_types=1, routing=Mine(2, temperature=0.5))
    with pytest.raises(InputError, match="class Mine cannot be saved, since no name stands for it"):
        model.save_pretrained(tmp_path)
    assert register_routing(Mine) is Mine
    register_routing(Mine)  # again is no mistake
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, CapsNet)
    assert routing_config(again.classes.routing) == {
        "name": "mine", "iterations": 2, "temperature": 0.5
    }  # fmt: skip


def test_what_cannot_be_registered() -> None:
    class Nameless(DynamicRouting):
        pass

    class Dynamic(DynamicRouting):
        name = "dynamic"

    with pytest.raises(ValueError, match="Nameless needs a name of its own"):
        register_routing(Nameless)
    with pytest.raises(ValueError, match="the name 'dynamic' is taken by DynamicRouting"):
        register_routing(Dynamic)


def test_a_subclass_is_never_run_by_a_kernel_of_what_it_overrides() -> None:
    votes = LinearVotes(torch.randn(2, 70, 3), torch.randn(70, 4, 5, 3))
    assert DynamicRouting(3).fused
    assert not Mine(3).fused
    sharp, plain = Mine(3, temperature=0.01)(votes).pose, DynamicRouting(3)(votes).pose
    assert not torch.allclose(sharp, plain, atol=1e-3)
    same = Mine(3)(votes).pose
    torch.testing.assert_close(same, plain)
    routing = Mine(3)
    routing.backend = "cpu"
    with pytest.raises(ValueError, match="'cpu' cannot route these votes: this routing has no"):
        routing(votes)


class Warmer(DynamicRouting):
    """Options of its own, and those of its base by `**options`, as Python is often written."""

    def __init__(self, warmth: float = 2.0, **options: Any) -> None:
        super().__init__(**options)
        self.warmth = warmth


def test_options_may_be_handed_on_by_keyword() -> None:
    routing = Warmer(3.0, iterations=2)
    assert routing(torch.randn(1, 4, 3, 5)).pose.shape == (1, 3, 5)
    assert routing.options() == {"warmth": 3.0, **DynamicRouting(2).options()}
    assert "warmth=3.0, iterations=2, " in repr(routing)
    assert Warmer(**routing.options()).options() == routing.options()
