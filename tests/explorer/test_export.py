"""The page is one file with everything in it, and no text of a model can break out of its place."""

import base64
import copy
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine_page import with_statistics
from torchcaps.data import ImageData, apply_shift, load_data
from torchcaps.errors import InputError
from torchcaps.explorer import SHIPPED, held_out_images, write_explorer
from torchcaps.explorer.export import embedded, page_data, page_text
from torchcaps.explorer.network import fold_normalisation, page_model
from torchcaps.explorer.samples import choose_samples
from torchcaps.models import BaselineCNN, CapsNet, Classifier, ImageCapsNet, load_model
from torchcaps.models.capsule_classifier import CapsuleClassifier
from torchcaps.routing import DynamicRouting

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!-- <script>",
    "]]>",
    "\u2028of\u2029",
    "\"\\'`${alert(3)}",
    "\ud800",
    "/*torchcaps:script*/<!--torchcaps:data-->#torchcaps:script-hash#",
    "&lt;b&gt;",
    "<svg/onload=alert(4)>",
]


def tiny(**options):
    defaults = {"image_size": 17, "conv_channels": 4, "primary_types": 2, "decoder_hidden": [5]}
    return CapsNet(**{**defaults, **options}).eval()


class Elements(HTMLParser):
    """The elements of a page, and the text of the scripts."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.scripts, self.within = [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.opened.append((tag, dict(attributes)))
        self.within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, text):
        if self.within == "script":
            self.scripts[-1] += text


def data_in(text):
    """What the page's own script reads."""
    elements = Elements(text)
    ids = [a.get("id") for tag, a in elements.opened if tag == "script"]
    return json.loads(elements.scripts[ids.index("torchcaps-data")])


# --- what is in it
def test_the_weights_come_out_as_fp16_has_them():
    model = tiny()
    data = data_in(page_text(page_data(model)))
    own_names = {
        "stem.0": "conv", "primary": "primary.conv", "classes": "classes",
        "decoder.0": "decoder.layers.0", "decoder.1": "decoder.layers.2",
    }  # fmt: skip
    weights = model.state_dict()
    assert len(data["tensors"]) == len(weights)
    for name, tensor in data["tensors"].items():
        layer, _, part = name.rpartition(".")
        value = weights[f"{own_names[layer]}.{part}"]
        halves = np.frombuffer(base64.b64decode(tensor["data"]), "<f2").reshape(tensor["shape"])
        np.testing.assert_array_equal(halves, value.half().numpy())


def test_the_config_describes_the_network():
    model = tiny(image_size=[21, 30], channels=3, num_classes=4, routing_bias=True,
                 kernel_size=5, conv_stride=2, primary_stride=1, primary_dim=3, pose_dim=6,
                 routing={"name": "dynamic", "iterations": 2, "leaky": True})  # fmt: skip
    config = page_data(model)["config"]
    assert config == {
        "image_size": [21, 30], "channels": 3, "class_names": ["0", "1", "2", "3"],
        "mean": [0, 0, 0], "std": [1, 1, 1], "threshold": 0, "misfit_limit": None,
        "at_once": 1,
        "stem": [{"kernel": 5, "stride": 2, "padding": 0}],
        "primary": {"kernel": 5, "stride": 1, "padding": 0},
        "primary_types": 2, "primary_grid": list(model.primary_grid), "pose_dim": 6,
        "routing": {"name": "dynamic", "iterations": 2, "leaky": True}, "reconstruct": True,
        "decoder": 2 * [{"kernel": 1, "stride": 1, "padding": 0, "grid": [1, 1], "doubled": False}],
    }  # fmt: skip
    bare = page_data(tiny(reconstruct=False))["config"]
    assert (bare["reconstruct"], bare["decoder"]) == (False, [])


def image_capsnet(**options):
    """A small one, whose normalisation is not what it starts as."""
    small = {
        "num_classes": 3,
        "stem_channels": [5, 6, 7],
        "primary_types": 2,
        "decoder_hidden": [8],
    }
    return with_statistics(ImageCapsNet(**{**small, **options}))


def test_the_config_describes_a_network_of_any_image():
    config = page_data(image_capsnet(image_size=[50, 60], channels=2, mean=0.25, std=[0.5, 2]))[
        "config"
    ]
    layers = [(layer["kernel"], layer["stride"], layer["padding"]) for layer in config["stem"]]
    assert layers == [(5, 1, 2), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)]
    assert (config["mean"], config["std"]) == ([0.25, 0.25], [0.5, 2])
    assert [(layer["grid"], layer["doubled"]) for layer in config["decoder"]] == [
        ([1, 1], False), ([7, 8], True), ([14, 16], True), ([28, 32], True), ([56, 64], False),
    ]  # fmt: skip


@torch.no_grad()
def test_normalisation_is_folded_into_the_convolutions():
    model = image_capsnet(image_size=32, channels=3, mean=0.5, std=0.25)
    images = torch.rand(20, 3, 32, 32)
    unrounded = copy.deepcopy(model)
    fold_normalisation(unrounded.stem)
    torch.testing.assert_close(unrounded.features(images), model.features(images))
    lengths, expected = (each(images).activation for each in (page_model(model), model))
    assert (lengths - expected).abs().max() < 0.005  # the weights of the page are fp16
    assert not torch.equal(lengths, expected)


@torch.no_grad()
def test_weights_too_small_for_fp16_are_folded_before_they_are_rounded():
    """Nothing holds the scale of normalised convolutions: training may leave it anywhere."""
    model = image_capsnet(image_size=28)
    images = torch.rand(20, 1, 28, 28)
    expected = model(images).activation
    layers = list(model.stem)
    for conv, norm in zip(layers[::3], layers[1::3]):
        conv.weight *= 1e-8
        norm.running_mean *= 1e-8
        norm.running_var *= 1e-16
        norm.eps *= 1e-16
    assert (page_model(model)(images).activation - expected).abs().max() < 0.005


@pytest.mark.parametrize(
    ("names", "border", "subject"),
    [
        (None, None, "digits"),
        (None, 0.02, "digits"),
        (["a", "b"], None, "drawings"),
        (["a", "b"], 0.98, "drawings"),
        (["a", "b"], 0.45, "photos"),
        (None, 0.45, "photos"),
        (["10", "11"], 0, "drawings"),
    ],
)
def test_what_the_page_speaks_of(names, border, subject):
    model = tiny(num_classes=2, class_names=names)
    model.metadata = {} if border is None else {"border_brightness": border}
    assert page_data(model)["subject"] == subject


def test_the_model_itself_is_not_changed():
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    page_data(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert next(model.parameters()).dtype == torch.float32


def test_nothing_in_the_page_points_elsewhere(open_page, tmp_path):
    write_explorer(load_model(SHIPPED), tmp_path / "page.html", load_data("mnist5k").test)
    text = (tmp_path / "page.html").read_text()
    for tag, attributes in Elements(text).opened:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert re.match(r"$|#|data:|blob:", attributes.get(name) or ""), (tag, attributes)
    page = open_page(tmp_path / "page.html")  # which fails at any request, error or warning
    found = page.evaluate(
        """async () => {
          const { data, startEngine } = globalThis.torchcaps;
          const bytes = Uint8Array.from(atob(data.samples.images), (c) => c.charCodeAt(0));
          const image = Float32Array.from(bytes.subarray(0, 784), (x) => x / 255);
          const result = await startEngine(data).evaluate(image, 3);
          return [result.shown, data.samples.labels[0], data.samples.kinds[0]];
        }"""
    )
    assert found[0] == found[1]
    assert found[2] == "right"


# --- texts that would be markup
def hostile_model():
    model = tiny(num_classes=len(HOSTILE), class_names=HOSTILE)
    model.metadata = {text: text for text in HOSTILE} | {"data": HOSTILE[1]}
    return model


def test_hostile_texts_stay_texts():
    model = hostile_model()
    text = page_text(page_data(model))
    harmless = page_text(page_data(tiny()))
    assert Elements(text).opened == Elements(harmless).opened  # not one element more
    data = data_in(text)
    assert data["config"]["class_names"] == HOSTILE
    assert data["title"] == HOSTILE[1]
    assert data["metadata"] == model.metadata


def test_hostile_texts_in_a_browser(open_page, tmp_path):
    write_explorer(hostile_model(), tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    page.on("dialog", lambda dialog: pytest.fail(f"ran: {dialog.message}"))
    page.wait_for_timeout(500)
    # The lone surrogate cannot be told through the protocol.
    names = page.evaluate("torchcaps.data.config.class_names.map((name) => name.toWellFormed())")
    assert names == [name.replace("\ud800", "\ufffd") for name in HOSTILE]
    assert page.evaluate("document.querySelectorAll('img[src=x], svg[onload]').length") == 0


def test_no_script_but_the_page_s_own_runs(open_page, tmp_path):
    """The policy names that one by its hash: should a text break out after all, it runs nothing."""
    text = page_text(page_data(tiny()))
    foreign = "<script>globalThis.foreign = 1</script><img src='data:,' onerror='foreign = 1'>"
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{foreign}</body>"))
    page = open_page(tmp_path / "page.html")
    page.wait_for_timeout(300)
    assert page.evaluate("typeof foreign") == "undefined"
    assert page.evaluate("typeof torchcaps") == "object"
    refused = [fault for fault in page.faults if "Content Security Policy" in fault]
    assert len(refused) == len(page.faults) == 2
    page.faults.clear()


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_text_is_json_and_script_and_safe_html(text):
    written = embedded({"text": text})
    assert json.loads(written) == {"text": text}
    assert written.isascii()
    assert not set("<>&") & set(written)


def test_metadata_of_any_kind():
    """They come from a file that anybody may have written."""
    model = tiny()
    model.metadata = {"a": [1], "b": None, "c": float("nan"), "d": 0.5, "e": {"f": 1}, "g": "h"}
    assert page_data(model)["metadata"] == {"d": 0.5, "g": "h"}
    for limit in (10**400, float("inf"), float("nan"), -1, True, "0.5"):
        model.metadata = {"threshold": 0.5, "misfit_limit": limit}
        assert page_data(model)["config"]["misfit_limit"] is None
    others: list[Any] = [None, [], "text"]
    for metadata in others:
        model.metadata = metadata
        assert page_data(model)["metadata"] == {}


# --- what cannot be shown
def test_a_network_without_capsules():
    model = BaselineCNN(image_size=8, conv_channels=(2, 2, 2), hidden=(3, 3))
    with pytest.raises(InputError, match="a BaselineCNN has none: name a CapsNet"):
        page_data(model)


@pytest.mark.parametrize("kind", [CapsuleClassifier, Classifier])
def test_another_network_of_capsules(kind):
    Own = type("Own", (kind,), {})

    with pytest.raises(InputError, match="know the layers of Own: name a CapsNet or an ImageCaps"):
        page_data(Own(8, 1, 2, None))


def spoil(tensor):
    with torch.no_grad():
        tensor.view(-1)[0] = float("nan")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda model: spoil(model.stem[1].running_var), r"stem\.1\.running_var"),
        (lambda model: model.stem[1].running_var.neg_(), r"stem\.0\.weight"),
        (lambda model: model.stem[4].weight.data.mul_(1e8), r"stem\.3\.weight"),
        (lambda model: spoil(model.decoder.layers[2].bias), r"decoder\.layers\.2\.bias"),
        (lambda model: model.std.__setitem__(0, float("inf")), "mean or std"),
    ],
)
def test_numbers_that_the_page_cannot_hold_are_named(change, name):
    model = image_capsnet(image_size=28)
    change(model)
    with pytest.raises(InputError, match=f"the model's {name}.* holds numbers that are not finite"):
        page_data(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_fp16_cannot_hold(tmp_path, value):
    model = tiny()
    with torch.no_grad():
        model.conv.weight[0, 0, 0, 0] = value
    with pytest.raises(InputError, match=r"the model's conv\.weight holds numbers that are not"):
        write_explorer(model, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_another_routing():
    model = tiny()
    sentence = (
        "the explorer shows dynamic, attention and em routing, and this model routes by "
        "variational: name a model that routes by dynamic, attention or em"
    )
    with pytest.raises(InputError, match=f"^{sentence}$"):
        page_data(tiny(routing="variational"))

    class Other(DynamicRouting):
        """It has the name of the one it is made from, and need not compute the same."""

    model.classes.routing = Other(3)
    with pytest.raises(InputError, match="this model routes by Other: name a model that"):
        page_data(model)


def test_an_option_that_the_page_does_not_have():
    """It is not left out in silence: the page would show other numbers than the model's."""
    model = tiny(routing={"name": "dynamic", "squash": "half", "detach": True})
    with pytest.raises(InputError, match="dynamic routing has no squash, which this model sets"):
        page_data(model)
    model.classes.routing.squash = "squash"
    config = page_data(model)["config"]
    assert config["routing"] == {"name": "dynamic", "iterations": 3, "leaky": False}


def test_routings_that_learn_and_have_options():
    """What they compute is in the page, and nothing of how they are trained."""
    model = tiny(routing={"name": "em", "iterations": 2, "first_coupling": "whole", "detach": True,
                          "final_lambda": np.float32(0.5)})  # fmt: skip
    data = page_data(model)
    assert json.loads(json.dumps(data["config"]["routing"])) == {
        "name": "em", "iterations": 2, "final_lambda": 0.5, "variance_floor": 5e-4,
        "mean_momentum": 0.0, "mass_floor": 1e-7, "lambda_scale": 1.0, "constant_lambda": False,
        "first_coupling": "whole",
    }  # fmt: skip
    learned = {name for name in data["tensors"] if name.startswith("classes.routing.")}
    assert learned == {"classes.routing.beta_a", "classes.routing.beta_u"}
    with torch.no_grad():
        model.classes.routing.beta_u[1] = 1e6
    with pytest.raises(
        InputError, match=r"the model's classes\.routing\.beta_u holds numbers that"
    ):
        page_data(model)


def test_attention_without_activations():
    model = tiny(routing="attention")
    model.classes.routing.activations = False
    with pytest.raises(
        InputError, match="this model's attention routing has activations=False, by"
    ):
        page_data(model)
    model = tiny(routing="attention")
    assert page_data(model)["config"]["routing"] == {"name": "attention", "iterations": 3}


def test_more_iterations_than_a_page_can_bear(tmp_path):
    """A config.json may say anything; nothing is begun that would not come to an end."""
    with pytest.raises(InputError, match="routes in 10000 iterations, and the explorer shows"):
        write_explorer(tiny(routing=DynamicRouting(10**4)), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_there_stays_if_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    old = "<!doctype html><meta content=\"script-src 'sha256-"
    path.write_text(old)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torchcaps.storage.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_explorer(tiny(), path)
    assert path.read_text() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_others_is_not_replaced_and_an_earlier_page_is(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<!doctype html><p>mine")
    with pytest.raises(InputError, match=r"page\.html is there already and not a page"):
        write_explorer(tiny(), path)
    assert path.read_text() == "<!doctype html><p>mine"
    path.unlink()
    write_explorer(tiny(), path)
    before = path.read_bytes()
    write_explorer(tiny(channels=3), path)
    assert path.read_bytes() != before


# --- the strip
def pixels(samples):
    shape = (-1, samples["channels"], samples["height"], samples["width"])
    return np.frombuffer(base64.b64decode(samples["images"]), np.uint8).reshape(shape)


def test_the_strip_of_the_shipped_network():
    model, test = load_model(SHIPPED), load_data("mnist5k").test
    samples = page_data(model, test)["samples"]
    images = pixels(samples)
    kinds = np.array(samples["kinds"])
    counts = {kind: int((kinds == kind).sum()) for kind in ("right", "wrong", "overlap")}
    assert counts["right"] == 20
    assert counts["wrong"] >= 1
    assert counts["overlap"] == 6
    assert len(images) == len(kinds) == len(samples["labels"]) == len(samples["labels2"])
    said = model.predict(torch.from_numpy(images.astype("float32")) / 255).tolist()
    originals = {image.tobytes(): int(k) for image, k in zip(test.images.numpy(), test.labels)}
    rows = zip(images, samples["labels"], samples["labels2"], kinds, said)
    for image, label, label2, kind, answer in rows:
        if kind == "overlap":
            assert label != label2
            assert image.tobytes() not in originals
        else:
            assert label2 is None
            assert originals[image.tobytes()] == label
            assert (answer == label) == (kind == "right")
    right = [label for label, kind in zip(samples["labels"], kinds) if kind == "right"]
    assert sorted(right) == sorted([*range(10)] * 2)


def test_an_overlap_is_two_shifted_digits():
    """Of the classes that it says: found by trying all digits, shifted in all ways."""
    test = load_data("mnist5k").test
    samples = choose_samples(CapsNet.from_pretrained(SHIPPED), test)
    k = samples.kinds.index("overlap")
    image, classes = samples.images[k, 0], (samples.labels[k], samples.labels2[k])
    offsets = torch.cartesian_prod(torch.arange(-4, 5), torch.arange(-4, 5))
    hidden = []  # all shifted digits of each class that are nowhere brighter than the image
    for label in classes:
        digits = test.images[test.labels == label]
        shifted = torch.cat([apply_shift(digits, o.expand(len(digits), 2)) for o in offsets])[:, 0]
        hidden.append(shifted[(shifted <= image).flatten(1).all(dim=1)])
    assert any(torch.equal(torch.maximum(a, b), image) for a in hidden[0] for b in hidden[1])


def test_overlaps_on_a_light_ground_are_dark():
    test = load_data("mnist5k").test
    turned = ImageData(255 - test.images, test.labels, test.class_names, "light")
    model = CapsNet.from_pretrained(SHIPPED)
    dark, light = (choose_samples(model, data, test.labels) for data in (test, turned))
    overlaps = torch.tensor([kind == "overlap" for kind in dark.kinds])
    assert torch.equal(255 - light.images[-6:], dark.images[overlaps])


def test_colour_has_no_overlaps_and_floats_become_bytes():
    model = tiny(channels=3, num_classes=2)
    images = ImageData(torch.rand(12, 3, 17, 17), torch.arange(12) % 2, ("0", "1"), "colour")
    samples = choose_samples(model, images)
    assert set(samples.kinds) <= {"right", "wrong"}
    assert samples.images.dtype == torch.uint8
    where = [
        k
        for k in range(12)
        if torch.equal((images.images[k] * 255).round().byte(), samples.images[0])
    ]
    assert len(where) == 1


def test_one_image_is_enough():
    model = tiny()
    images = ImageData(torch.rand(1, 1, 17, 17), torch.tensor([3]), model.class_names, "one")
    assert len(choose_samples(model, images).images) == 1


def test_images_of_another_kind_are_not_taken():
    assert held_out_images(load_model(SHIPPED)).name == "mnist5k"
    assert held_out_images(tiny()) is None
    assert (
        held_out_images(CapsNet(conv_channels=2, primary_types=1, class_names=list("abcdefghij")))
        is None
    )
    learned_from_all = load_model(SHIPPED)
    learned_from_all.metadata = dict(learned_from_all.metadata) | {"data": "mnist"}
    assert held_out_images(learned_from_all) is None  # the package has training images of MNIST
    samples = page_data(tiny())["samples"]
    assert (samples["images"], samples["labels"], samples["kinds"]) == ("", [], [])
