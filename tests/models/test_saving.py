"""What is changed on a model is what is saved; what cannot be saved is refused."""

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.small_models import small
from torchcaps import (
    AttentionRouting,
    BaselineCNN,
    CapsNet,
    DenseCaps,
    DynamicRouting,
    EMRouting,
    InputError,
    PrimaryCaps,
    load_model,
)
from torchcaps.data import ImageData
from torchcaps.models import EMCapsNet
from torchcaps.models.capsnet import LossScale
from torchcaps.routing import ROUTINGS

SMALL: dict[str, Any] = {
    "conv_channels": 4,
    "primary_types": 2,
    "decoder_hidden": [8],
    "num_classes": 3,
}


def replace_routing(model: CapsNet) -> None:
    inputs, outputs, out_dim, in_dim = model.classes.weight.shape
    model.classes.routing = EMRouting(2, final_lambda=0.5).build(inputs, in_dim, outputs, out_dim)
    nn.init.normal_(model.classes.routing.beta_a)


def set_iterations(model: CapsNet) -> None:
    model.classes.routing.iterations = 7


def set_leaky(model: CapsNet) -> None:
    model.classes.routing.leaky = True  # type: ignore[assignment]


def set_class_names(model: CapsNet) -> None:
    model.class_names = ("cat", "dog", "owl")


def set_loss_scale(model: CapsNet) -> None:
    model.loss_scale = LossScale(margin=2.0, average_classes=True, reconstruction=1e-6)


def leave_out_the_decoder(model: CapsNet) -> None:
    model.decoder = None


@pytest.mark.parametrize(
    "change",
    [
        set_iterations,
        set_leaky,
        replace_routing,
        set_class_names,
        set_loss_scale,
        leave_out_the_decoder,
    ],
)
def test_what_is_changed_is_saved(change: Callable[[CapsNet], None], tmp_path: Path) -> None:
    plain, model = CapsNet(**SMALL).eval(), CapsNet(**SMALL).eval()
    model.load_state_dict(plain.state_dict())
    change(model)
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, CapsNet)
    assert repr(again) == repr(model).replace("  (decoder): None\n", "")
    assert again.config == model.config != plain.config
    assert (again.class_names, again.loss_scale) == (model.class_names, model.loss_scale)
    images = torch.rand(2, 1, 28, 28)
    for found, expected in zip(again(images), model(images)):
        assert (found is None and expected is None) or torch.equal(found, expected)


@pytest.mark.parametrize(
    "routing",
    [
        "em",
        {"name": "attention", "iterations": 2},
        DynamicRouting(4, leaky=True, detach=True, squash="half"),
        EMRouting(1, mean_momentum=0.1),
        AttentionRouting(2),
    ],
)
def test_every_way_to_name_a_routing_comes_back(routing: Any, tmp_path: Path) -> None:
    model = CapsNet(**SMALL, routing=routing).eval()
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert repr(again) == repr(model)
    config = json.loads((tmp_path / "config.json").read_text())
    assert ROUTINGS[config["routing"]["name"]] is type(model.classes.routing)
    card = (tmp_path / "README.md").read_text()
    assert f"- Routing: {config['routing']['name']}" in card
    assert str(model.classes.routing.paper) in card


def test_weights_that_are_shared_come_back_apart(tmp_path: Path) -> None:
    model = EMCapsNet(14, conv_channels=4, primary_types=2, types=(2, 2), num_classes=3).eval()
    first, second = model.layers
    second.weight = first.weight
    model.save_pretrained(tmp_path)
    again: Any = load_model(tmp_path)
    images = torch.rand(2, 1, 14, 14)
    assert torch.equal(again(images).activation, model(images).activation)
    first, second = again.layers
    assert second.weight is not first.weight


class Mine(CapsNet):
    """A network of somebody's own, which hands on whatever it is given."""

    def __init__(self, *args: Any, sharp: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sharp = sharp


def test_a_network_that_hands_its_arguments_on_comes_back(tmp_path: Path) -> None:
    model = Mine(20, 3, sharp=True, **SMALL)
    model.save_pretrained(tmp_path)
    again = Mine.from_pretrained(tmp_path, class_names=["a", "b", "c"])
    assert again.sharp
    assert again.config == {**model.config, "class_names": ["a", "b", "c"]}
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with pytest.raises(TypeError, match="unexpected keyword argument 'shrp'"):
        Mine.from_pretrained(tmp_path, shrp=True)


class Beside:
    """What another class adds to a network."""


class Mixed(Beside, CapsNet):
    """A network of two bases."""

    def __init__(self, *, sharp: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sharp = sharp


class Taking(CapsNet):
    """A network that takes an option of its own from the others."""

    def __init__(self, **kwargs: Any) -> None:
        self.depth = kwargs.pop("depth", 1)
        super().__init__(**kwargs)


@pytest.mark.parametrize(("kind", "own"), [(Mixed, {"sharp": True}), (Taking, {"depth": 3})])
def test_networks_that_pass_arguments_in_other_ways_come_back(
    kind: type[CapsNet], own: dict[str, Any], tmp_path: Path
) -> None:
    model = kind(**own, image_size=20, channels=3, **SMALL)
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert (vars(again) | own, again.config) == (vars(again), model.config)
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((tmp_path / "config.json").read_text()) | {"dept": 3})
    )
    with pytest.raises(InputError, match="dept"):
        kind.from_pretrained(tmp_path)


def test_where_routing_runs_is_no_part_of_the_model(tmp_path: Path) -> None:
    model = CapsNet(**SMALL, routing=DynamicRouting(2, backend="reference"))
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path).classes.routing.backend == "auto"


class Unregistered(DynamicRouting):
    """A routing that no name stands for."""


class Scrambled(PrimaryCaps):
    """Another layer of the same shape."""


def unregistered_routing(model: nn.Module) -> None:
    model.classes.routing = Unregistered(3)


def routing_that_was_not_built(model: nn.Module) -> None:
    model.classes.routing = EMRouting(3)


def impossible_option(model: nn.Module) -> None:
    model.classes.routing.iterations = 0


def other_layer(model: nn.Module) -> None:
    model.primary = Scrambled(4, types=2)


def other_stride(model: nn.Module) -> None:
    model.conv = nn.Conv2d(1, 4, 9, padding=1)


def other_shape(model: nn.Module) -> None:
    model.classes = DenseCaps(9, 8, 3, 16)


def too_few_names(model: CapsNet) -> None:
    model.class_names = ("a",)


def more_layers(model: nn.Module) -> None:
    model.extra = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unregistered_routing, "a routing of the class Unregistered cannot be saved.*register"),
        (routing_that_was_not_built, r"its classes.routing.beta_a is absent"),
        (impossible_option, "the routing DynamicRouting.*iterations must be at least 1, got 0"),
        (other_layer, r"it has \(primary\): Scrambled\(, and one built from its settings"),
        (other_stride, r"it has \(conv\): Conv2d.*padding"),
        (other_shape, r"its classes.weight is \(9, 3, 16, 8\), and one built"),
        (too_few_names, "class_names has 1 names for 3 classes"),
        (more_layers, "its extra.weight is"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_nothing_written(
    change: Callable[[nn.Module], None], message: str, tmp_path: Path
) -> None:
    model = CapsNet(**SMALL)
    change(model)
    with pytest.raises(InputError, match=message) as refused:
        model.save_pretrained(tmp_path / "model")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "model").exists()


def test_a_cnn_is_saved_as_it_stands_and_refused_where_it_cannot(tmp_path: Path) -> None:
    model = BaselineCNN(conv_channels=(3, 4), hidden=(5,), dropout=0.25, num_classes=2)
    model.layers[-2].p = 0.1  # type: ignore[assignment]
    model.save_pretrained(tmp_path)
    assert repr(load_model(tmp_path)) == repr(model)
    model.layers[1] = nn.Tanh()
    with pytest.raises(InputError, match=r"it has \(1\): Tanh\(\)"):
        model.save_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("old", "routing"),
    [
        ({"iterations": 5, "leaky": True, "detach": False}, {"iterations": 5, "leaky": True}),
        ({"iterations": 1}, {"iterations": 1}),
    ],
)
def test_models_of_version_0_1_load(
    old: dict[str, Any], routing: dict[str, Any], tmp_path: Path
) -> None:
    model = CapsNet(**SMALL, routing={"name": "dynamic", **routing})
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["routing"]
    (tmp_path / "config.json").write_text(json.dumps(config | old))
    assert repr(load_model(tmp_path)) == repr(model.eval())


@pytest.mark.parametrize("name", ["image_capsnet", "capsnet", "baseline_cnn", "em_capsnet"])
def test_a_setting_that_was_lost_is_not_taken_to_be_the_default(name: str, tmp_path: Path) -> None:
    """Every one of them may be another than that: the mean of the images, say."""
    model = small(name)
    model.save_pretrained(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    beside = {"architecture", "torchcaps_version", "metadata"}
    for lost in whole.keys() - beside:
        config = {key: value for key, value in whole.items() if key != lost}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"config\.json (lacks|does not describe a)"):
            load_model(tmp_path)


# --- what `load_model` would refuse
def around_itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, r"its metadata must be an object \(a dict\), got NoneType"),
        ([1], r"its metadata must be an object \(a dict\), got list"),
        ({"threshold": 1.5}, "threshold in it a number from 0 to 1, got 1.5"),
        ({"threshold": None}, "threshold in it a number from 0 to 1, got None"),
        ({"threshold": True}, "threshold in it a number from 0 to 1, got True"),
        ({"threshold": float("nan")}, "threshold in it a number from 0 to 1, got nan"),
        ({"border_brightness": None}, "border_brightness in it a number from 0 to 1, got None"),
        ({3: 4}, "its metadata has the key 3"),
        (
            {"of": {"classes": [{1: 1, "1": 2}]}},
            r"its metadata\['of'\]\['classes'\]\[0\] has the key 1",
        ),
        ({"a": np.ones(2)}, r"its metadata\['a'\] is of the type numpy\.ndarray, which JSON"),
        ({"a": (0, {"b"})}, r"its metadata\['a'\]\[1\] is of the type set, which JSON"),
        ({"a": datetime.date(2020, 1, 1)}, r"\['a'\] is of the type datetime\.date, which JSON"),
        ({"a": [float("inf")]}, r"its metadata\['a'\]\[0\] is inf, which JSON cannot hold"),
        (around_itself(), "its metadata is nested too deeply"),
    ],
)
def test_metadata_that_could_not_be_loaded_are_not_saved(
    metadata: Any, message: str, tmp_path: Path
) -> None:
    model = CapsNet(**SMALL)
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model.metadata = metadata
    with torch.no_grad():
        model.conv.bias.add_(1)
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(InputError, match=f"this CapsNet cannot be saved: .*{message}") as said:
            model.save_pretrained(folder)
        assert "\n" not in str(said.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_metadata_of_all_that_json_holds_come_back(tmp_path: Path) -> None:
    model = CapsNet(**SMALL)
    model.metadata = {
        "threshold": np.float32(0.5),
        "a": [1, (2.5, None)],
        "b": {"c": True},
        "d": "é",
    }
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path).metadata == {**model.metadata, "a": [1, [2.5, None]]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_saved(value: float, tmp_path: Path) -> None:
    model = CapsNet(**SMALL)
    with torch.no_grad():
        model.conv.bias[0] = value
    with pytest.raises(InputError, match=r"its conv\.bias holds numbers that are not finite"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_that_could_not_be_loaded_from_is_not_saved_to(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a name that is not UTF-8"):
        CapsNet(**SMALL).save_pretrained(tmp_path / os.fsdecode(b"caf\xe9"))
    assert not list(tmp_path.iterdir())


# --- what lies there already
RUN = {"model": "capsnet", "batch_size": 8, "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"config.json": RUN, "run.json": {}},
            "holds a run, whose config.json .*run/model to repl",
        ),
        ({"config.json": RUN, "result.json": {}}, "holds a run, whose config.json"),
        ({"config.json": RUN}, "run/config.json is not that of a saved model"),
        ({"config.json": {"name": "my project"}}, "run/config.json is not that of a saved model"),
    ],
)
def test_no_run_and_no_config_of_others_is_replaced(
    files: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=message) as refused:
        CapsNet(**SMALL).save_pretrained(folder)
    assert "\n" not in str(refused.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    CapsNet(**SMALL).save_pretrained(folder / "model")  # as training does
    CapsNet(**SMALL).save_pretrained(folder / "model")


def test_a_file_is_no_folder_to_save_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("theirs")
    with pytest.raises(InputError, match="file is a file: name a folder"):
        CapsNet(**SMALL).save_pretrained(tmp_path / "file")


# --- names of classes
@pytest.mark.parametrize(
    "names", [{"a", "b", "c"}, {"a": 2, "b": 1, "c": 0}, frozenset("abc"), "abc", b"abc", 3]
)
def test_names_without_an_order_are_refused(names: Any, tmp_path: Path) -> None:
    message = r"class_names is (of the type|the single string).*; expected a list of names"
    with pytest.raises(TypeError, match=message):
        CapsNet(**SMALL, class_names=names)
    images, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3)
    with pytest.raises(TypeError, match=message):
        ImageData(images, labels, names, "x")
    with pytest.raises(TypeError, match=message):
        ImageData.from_dataset(list(zip(images, labels.tolist())), names)
    model = CapsNet(**SMALL)
    model.class_names = names
    with pytest.raises(TypeError, match=message):
        model.save_pretrained(tmp_path / "model")


@pytest.mark.parametrize("kind", [list, tuple, np.array, iter, dict.fromkeys])
def test_names_in_any_order_that_is_one(kind: Any) -> None:
    names = ["c", "a", "b"]
    keys = (lambda: kind(names).keys()) if kind == dict.fromkeys else (lambda: kind(names))
    assert CapsNet(**SMALL, class_names=keys()).class_names == ("c", "a", "b")
    images, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3)
    assert ImageData(images, labels, keys(), "x").class_names == ("c", "a", "b")
