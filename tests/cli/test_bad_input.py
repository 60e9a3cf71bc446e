"""Every kind of bad input: one sentence that names it, exit code 2, and nothing half-written."""

import errno
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.small_runs import NAMES, arguments_of, listing, tiny_config, tiny_data, weights_of
from torchcaps import storage
from torchcaps.cli.parsing import in_one_sentence
from torchcaps.data import ImageData, TrainTest
from torchcaps.models import create_model, load_model
from torchcaps.training.checkpoint import find_checkpoint
from torchcaps.training.config import TrainConfig
from torchcaps.training.loop import resume, train

NOISE = np.random.default_rng(0).integers(0, 256, (30, 17, 17), dtype=np.uint8)
LABELS = np.arange(30) % 3


def one_sentence(answer, code=2):
    """What was said, if it was said as it should be."""
    assert answer.code == code, (answer.out, answer.err)
    assert answer.err.startswith("torchcaps: ")
    assert answer.err.count("\n") == 1
    assert answer.err.endswith("\n")
    assert "Traceback" not in answer.err
    return answer.err.removeprefix("torchcaps: ").rstrip()


@dataclass
class Place:
    """A folder to lay bad input into, beside good input."""

    here: Path
    trained: Path

    @property
    def data(self):
        return self.trained / "tiny.npz"

    @property
    def run(self):
        """The finished run; to be read only."""
        return self.trained / "run"

    def copy(self, of="run"):
        return Path(shutil.copytree(self.trained / of, self.here / "copy"))

    def npz(self, **arrays):
        np.savez(self.here / "a.npz", **arrays)
        return self.here / "a.npz"

    def write(self, name, content=b"hello"):
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def picture(self, name, side=17):
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.resize(NOISE, (side, side))).save(path)
        return path

    def classes(self, *names, other=None, empty=None):
        """A folder of class folders with four images each, perhaps one of another size."""
        for name in names:
            for number in range(4):
                self.picture(f"folder/{name}/{number}.png")
        if other is not None:
            self.picture(f"folder/{names[-1]}/9.png", other)
        if empty is not None:
            (self.here / "folder" / empty).mkdir()
        return self.here / "folder"

    def idx(self, cut=None, magic=2051, labels=4):
        """The four files of MNIST, of four images of 28×28, with something wrong."""
        for part in ("train", "t10k"):
            images = struct.pack(">4I", magic, 4, 28, 28) + bytes(4 * 784)
            self.write(f"mnist/{part}-images-idx3-ubyte", images[:cut])
            head = struct.pack(">2I", 2049, labels)
            self.write(f"mnist/{part}-labels-idx1-ubyte", head + bytes(labels))
        return ["--data", "mnist", "--data-dir", self.here]

    def config(self, /, **values):
        """The config.json of the run with other values."""
        config = json.loads((self.run / "config.json").read_text())
        return self.write("config.json", json.dumps(config | values))

    def model(self, /, **values):
        """The model of the run with other values in its config.json."""
        folder = self.copy("run/model")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))
        return folder

    def spoilt(self, name, content):
        """The model of the run with another file in the place of one of its own."""
        folder = self.copy("run/model")
        (folder / name).write_bytes(content)
        return folder


@pytest.fixture
def place(tmp_path, trained, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")  # where `runs` and `predictions` would appear
    (tmp_path / "input").mkdir()
    return Place(tmp_path / "input", trained)


def folder_with(place, name, content=b"hello"):
    place.classes("ant", "bee")
    place.write(f"folder/{name}", content)
    return ["--data", place.here / "folder"]


def bomb(place):
    """A PNG whose header claims 30,000 × 30,000 pixels."""
    path = place.picture("bomb.png")
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">2I", 30000, 30000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    return path


def pipe(path):
    os.mkfifo(path)
    return path


def link(path, target="gone"):
    path.symlink_to(target)
    return path


def half(path):
    content = path.read_bytes()
    return content[: len(content) // 2]


def of_letters(here):
    """A model of six classes."""
    model = create_model("capsnet_small", image_size=17, num_classes=6, class_names=list("abcdef"))
    model.save_pretrained(here / "letters")
    return here / "letters"


def without(folder, *names):
    for name in names:
        (folder / name).unlink()
    return folder


# Kind: (arguments after `train`, what the sentence must hold). Where --data is not among them, the
# tiny data are used.
TRAIN = {
    # data
    "idx truncated": (lambda at: at.idx(cut=-1), "train-images-idx3-ubyte is truncated"),
    "idx of wrong magic": (lambda at: at.idx(magic=77), "begins with the bytes 00 00 00 4d"),
    "idx with fewer labels": (lambda at: at.idx(labels=3), "holds 4 images but train-labels"),
    "no idx files": (lambda at: ["--data", "mnist", "--data-dir", at.here], "mnist is not in /"),
    "data dir of the digits that come along": (
        lambda at: ["--data", "mnist5k", "--data-dir", at.here],
        "input is for the files of mnist and fashion-mnist alone, and the data are mnist5k: leave",
    ),
    "data dir of a file": (
        lambda at: ["--data", at.data, "--data-dir", "nope"],
        "--data-dir nope is for the files of mnist and fashion-mnist alone, and the data are /",
    ),
    "no folder of idx files": (
        lambda at: ["--data", "mnist", "--data-dir", at.here / "gone"],
        "gone is not a folder",
    ),
    "npz without labels": (lambda at: ["--data", at.npz(images=NOISE)], "a.npz has no array"),
    "npz that is none": (lambda at: ["--data", at.write("a.npz")], "not a whole .npz archive"),
    "npz of NaN": (
        lambda at: ["--data", at.npz(images=NOISE * np.nan, labels=LABELS)],
        "from nan to nan; expected",
    ),
    "npz gone": (lambda at: ["--data", at.here / "gone.npz"], "gone.npz does not exist"),
    "another file": (lambda at: ["--data", at.write("a.csv")], "a.csv is a file but not a .npz"),
    "empty folder": (lambda at: ["--data", at.here], "has no class folders"),
    "mixed sizes": (
        lambda at: ["--data", at.classes("ant", "bee", other=20)],
        "(height×width); give --image-size (image_size in Python), for example 28",
    ),
    "empty class": (lambda at: ["--data", at.classes("ant", "bee", empty="cow")], "cow has no"),
    "no image": (lambda at: folder_with(at, "bee/5.png"), "5.png is not an image"),
    "one class": (lambda at: ["--data", at.classes("ant")], "only one class folder, 'ant'"),
    "unknown data": (lambda at: ["--data", "minst"], "unknown data 'minst' (did you mean"),
    "images too small": (
        lambda at: ["--image-size", 16, "--model", "capsnet_small"],
        "images of 16×16 are too small for two 9×9 convolutions: the smallest that works is 17×17",
    ),
    "a class too small to split": (
        lambda at: ["--validation", 0.001],
        "tiny: class 'ant' has 32 images: a fraction of 0.001 would take 0 of them; add "
        "images to the class, or take another --validation",
    ),
    # options
    "rotation": (lambda at: ["--max-rotation", 200], "--max-rotation must be degrees from 0 to"),
    "jitter": (lambda at: ["--jitter", "nan"], "--jitter must be a fraction from 0 to 1, got nan"),
    "no epochs": (lambda at: ["--epochs", 0], "--epochs must be at least 1, got 0"),
    "epochs without end": (
        lambda at: ["--epochs", 10**18],
        "--epochs must be at most 1000000, got 1000000000000000000",
    ),
    "a stride beyond 64 bits": (
        lambda at: ["--model", "capsnet", "--model-options", json.dumps({"primary_stride": 2**63})],
        "stride must be at most 2147483647, got 9223372036854775808",
    ),
    "options that the network has not": (
        lambda at: ["--model-options", '{"name": "em"}'],
        "--model-options has 'name', which image_capsnet does not have",
    ),
    "an option of the network that is of another type": (
        lambda at: ["--model-options", '{"primary_types": 40.5}'],
        "--model-options do not fit image_capsnet: primary_types must be an int, got 40.5",
    ),
    "an option of the network that is of no type that it has": (
        lambda at: ["--model-options", '{"pose_dim": []}'],
        "--model-options do not fit image_capsnet: pose_dim must be an int, got []",
    ),
    "a negative width": (
        lambda at: ["--model-options", '{"decoder_hidden": [-3]}'],
        "image_capsnet: decoder_hidden must be positive whole numbers, got [-3]",
    ),
    "a width of 0": (
        lambda at: ["--model", "capsnet_small", "--model-options", '{"decoder_hidden": [0]}'],
        "capsnet_small: decoder_hidden must be positive whole numbers, got [0]",
    ),
    "padding of another type": (
        lambda at: ["--model", "em_capsnet_small", "--model-options", '{"padding": true}'],
        "em_capsnet_small: padding must be a whole number from 0, got True",
    ),
    "dropout NaN": (
        lambda at: ["--model", "baseline_cnn", "--model-options", '{"dropout": NaN}'],
        "baseline_cnn: dropout must be at least 0, at most 1, got nan",
    ),
    "a routing that contradicts the network": (
        lambda at: ["--model", "capsnet", "--routing", '{"name": "deepcaps", "joint_norm": true}'],
        "--routing cannot be used with a CapsNet: joint_norm squashes the poses of a map together",
    ),
    "batches of one image": (
        lambda at: ["--model", "variational_capsnet", "--batch-size", 1],
        "--batch-size 1 is too small for a VariationalCapsNet, which normalises over the images",
    ),
    "negative batch": (lambda at: ["--batch-size", -4], "--batch-size must be at least 1, got -4"),
    "learning rate 0": (lambda at: ["--learning-rate", 0], "--learning-rate must be a positive"),
    "learning rate NaN": (lambda at: ["--learning-rate", "nan"], "at most 1e+30, got nan"),
    "learning rate infinite": (lambda at: ["--learning-rate", "inf"], "at most 1e+30, got inf"),
    "decay above 1": (lambda at: ["--final-learning-rate", 2], "--final-learning-rate must be a"),
    "validation 1": (lambda at: ["--validation", 1], "--validation must be a fraction from 0 up"),
    "validation NaN": (lambda at: ["--validation", "nan"], "--validation must be a fraction from"),
    "negative shift": (lambda at: ["--max-shift", -1], "--max-shift must be at least 0, got -1"),
    "shift out of sight": (lambda at: ["--max-shift", 10**20], "--max-shift 1000000000000000000"),
    "negative seed": (lambda at: ["--seed", -1], "--seed must be at least 0, got -1"),
    "no threads": (lambda at: ["--threads", 0], "--threads must be at least 1, got 0"),
    "too many threads": (lambda at: ["--threads", 10**12], "--threads must be at most 1024, got"),
    "no iterations": (lambda at: ["--iterations", 0], "--iterations must be at least 1, got 0"),
    "two channels": (
        lambda at: ["--channels", 2],
        "channels is 2, and its images have 1",
    ),
    "image size 0": (lambda at: ["--image-size", 0], "--image-size must be at least 1, got 0"),
    "image size enormous": (lambda at: ["--image-size", 10**9], "image_size is 1000000000;"),
    "checkpoints never": (lambda at: ["--checkpoint-every", 0], "--checkpoint-every must be at"),
    "unknown model": (
        lambda at: ["--model", "capsnet_smal"],
        "no model is called 'capsnet_smal': did you mean capsnet_small? known are",
    ),
    "iterations of a CNN": (
        lambda at: ["--model", "baseline_cnn", "--iterations", 3],
        "--routing, --iterations and --loss-scale are for capsule networks",
    ),
    # where to write
    "out is a file": (lambda at: ["--out", at.write("a.txt")], "a.txt is a file: name a folder"),
    "out is a device": (lambda at: ["--out", "/dev/null"], "/dev/null is a file: name a folder"),
    "out is a link to nothing": (
        lambda at: ["--out", link(at.here / "a")],
        "a is a file: name a folder",
    ),
    "out that is not UTF-8": (
        lambda at: ["--out", os.fsdecode(bytes(at.here) + b"/\xff")],
        "\\udcff is not UTF-8, and safetensors could not open the model in it: name another folder",
    ),
    "out in too many folders": (
        lambda at: ["--out", "a/" * 900 + "a"],
        "--out names 901 folders in each other; expected at most 500: take a shorter path",
    ),
    "out of nobody": (
        lambda at: ["--out", "~nosuchuser/run"],
        "--out ~nosuchuser/run names the folder of a user, and there is none called nosuchuser",
    ),
    "data of nobody": (
        lambda at: ["--data", "~nosuchuser/pictures"],
        "~nosuchuser/pictures does not exist",
    ),
    "out below a file": (lambda at: ["--out", at.write("a.txt") / "run"], "a.txt"),
    "out among the images": (
        lambda at: ["--data", at.classes("ant", "bee"), "--out", at.here / "folder/ant/run"],
        "folder, the folder of its images: name a folder elsewhere with --out",
    ),
    "out holds a run": (lambda at: ["--out", at.run], "already holds a run: continue it with"),
    # --config
    "config gone": (lambda at: ["--config", at.here / "c.json"], "c.json does not exist"),
    "routing nested too deeply": (
        lambda at: ["--data", at.data, "--routing", '{"a":' * 20_000],
        "is not valid JSON (it is nested too deeply): write an object such as",
    ),
    "model options with a number of thousands of digits": (
        lambda at: ["--data", at.data, "--model-options", '{"a": ' + "9" * 5000 + "}"],
        "is not valid JSON (Exceeds the limit",
    ),
    "config no JSON": (lambda at: ["--config", at.write("c.json")], "c.json is not valid JSON"),
    "config a list": (lambda at: ["--config", at.write("c.json", "[]")], "must hold an object"),
    "config in one's own folder": (
        lambda at: [f"--config={Path('~')}/no such file.json"],
        f"{Path.home()}/no such file.json does not exist: name the config.json",
    ),
    "config with a field twice": (
        lambda at: ["--config", at.write("c.json", '{"epochs": 3, "seed": 1, "epochs": 4}')],
        "c.json is not valid JSON (it has 'epochs' twice)",
    ),
    "the last config counts": (
        lambda at: ["--config", at.run / "config.json", "--config", at.here / "gone.json"],
        "gone.json does not exist",
    ),
    "routing without a name": (
        lambda at: ["--routing", '{"nam": "em"}'],
        'the routing {"nam": "em"} has no "name": write an object such as {"name": "em", "iter',
    ),
    "labels in a column": (
        lambda at: ["--data", at.npz(images=NOISE, labels=LABELS[:, None] % 2)],
        "a.npz: labels has shape [30, 1]; expected integers [N], one class number per image: take "
        ".ravel()",
    ),
    "class numbers in a column": (
        lambda at: ["--data", at.npz(images=NOISE, labels=LABELS[:, None])],
        "one class number per image (of one column take .ravel())",
    ),
    "a class of one image": (
        lambda at: ["--data", at.npz(images=NOISE, labels=np.arange(30) // 29)],
        "a: class '1' has 1 image: a fraction of 0.2 would take 1 of them; add images to the "
        "class, or bring test images of your own (test_images and test_labels)",
    ),
    "a class folder of one image": (
        lambda at: folder_with(at, "cow/1.png", at.picture("1.png").read_bytes()),
        "folder: class 'cow' has 1 image: a fraction of 0.2 would take 1 of them; add images to "
        "the class, or bring test images of your own (the folders train and test)",
    ),
    "config that is a pipe": (
        lambda at: ["--config", pipe(at.here / "c.json")],
        "c.json is a pipe: name a plain file",
    ),
    "config that never ends": (
        lambda at: ["--config", "/dev/zero"],
        "/dev/zero is a device: name a plain file",
    ),
    "config nested too deeply": (
        lambda at: ["--config", at.write("c.json", "[" * 100_000)],
        "c.json is not valid JSON (it is nested too deeply)",
    ),
    "config with a number of thousands of digits": (
        lambda at: ["--config", at.write("c.json", '{"epochs": ' + "9" * 5000 + "}")],
        "c.json is not valid JSON (Exceeds the limit",
    ),
    "config with the field self": (
        lambda at: ["--config", at.config(self=3)],
        "config.json: there is no option 'self'; known are",
    ),
    "config with an unknown field": (
        lambda at: ["--config", at.config(epoch=3)],
        "config.json: there is no option 'epoch'; known are",
    ),
    "config with a wrong type": (
        lambda at: ["--config", at.config(epochs="three")],
        "config.json: --epochs must be int or null, got 'three'",
    ),
    "config out of range": (
        lambda at: ["--config", at.config(validation=2)],
        "config.json: --validation must be a fraction",
    ),
    # --resume
    "resume nothing": (lambda at: ["--resume", at.here / "gone"], "gone does not exist:"),
    "resume no run": (lambda at: ["--resume", at.here], "is not the folder of a run: it holds no"),
    "resume another file": (
        lambda at: ["--resume", at.run / "config.json"],
        "config.json is not a checkpoint: name a run folder",
    ),
    "resume with other options": (
        lambda at: ["--resume", at.run, "--batch-size", 9],
        "with that run's own options: leave out --batch-size",
    ),
    "resume with options that are the defaults": (
        lambda at: ["--resume", at.run, "--seed", 0, "--batch_size=64", "--no-balance"],
        "with that run's own options: leave out --seed, --batch-size, --no-balance",
    ),
    "resume with other data that are the default": (
        lambda at: ["--resume", at.copy(), "--data", "mnist5k"],
        "the data are not those that the run ",
    ),
    "resume without a value": (
        lambda at: ["--resume", "--seed", 0],
        "Missing value for argument '--resume'",
    ),
    "resume for fewer epochs": (
        lambda at: ["--resume", at.run, "--epochs", 1],
        "--epochs 1 is less than the 3 of the run",
    ),
    "resume with a config": (
        lambda at: ["--resume", at.run, "--config", at.run],
        "with that run's own options: leave out --config",
    ),
    "resume with a config.json that is none": (
        lambda at: ["--resume", at.write("run/config.json", "{").parent],
        "config.json is not valid JSON",
    ),
}


@pytest.mark.parametrize("kind", TRAIN)
def test_train(torchcaps, place, kind):
    make, message = TRAIN[kind]
    arguments = make(place)
    if not {"--data", "--resume"} & set(arguments):
        arguments = [*arguments, "--data", place.data]
    before = listing(place.here), listing(place.trained)
    assert message in one_sentence(torchcaps("train", *arguments))
    assert (listing(place.here), listing(place.trained)) == before
    assert not list(Path.cwd().iterdir())


class Bomb:
    """A pickle that, were it read, would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def malicious(place):
    return pickle.dumps(Bomb(place.here / "the pickle was run"))


def renamed_pickle(place):
    return place.spoilt("model.safetensors", malicious(place))


def only_pickle(place):
    folder = without(place.copy("run/model"), "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(malicious(place))
    return folder


def swapped(place):
    """The weights of another network under the config.json of this one."""
    folder = place.copy("run/model")
    other = create_model("capsnet_small", image_size=17, num_classes=3, conv_channels=8)
    other.save_pretrained(place.here / "other")
    shutil.copy(place.here / "other" / "model.safetensors", folder)
    return folder


def weights_with(place, change):
    """The model of the run with one tensor changed."""
    folder = place.copy("run/model")
    tensors = load_file(folder / "model.safetensors")
    tensors["conv.bias"] = change(tensors["conv.bias"])
    save_file(tensors, folder / "model.safetensors")
    return folder


def killed(place, *gone):
    """The run as a kill while it finished leaves it."""
    return without(place.copy(), "result.json", *gone)


# Kind: (the folder given as CHECKPOINT, what the sentence must hold)
MODELS = {
    "nothing there": (lambda at: at.here / "gone", "gone does not exist: name the folder of a run"),
    "a file": (lambda at: at.data, "tiny.npz is a file: name the folder of a run"),
    "an empty folder": (lambda at: at.here, "holds no config.json"),
    "the folder of checkpoints": (lambda at: at.run / "checkpoints", "holds no config.json"),
    "an unfinished run": (
        killed,
        "is not finished, so it has no model yet: finish it with",
    ),
    "a run killed as it saved": (
        lambda at: killed(at, "model/model.safetensors"),
        "is not finished, so it has no model yet",
    ),
    "weights truncated": (
        lambda at: at.spoilt("model.safetensors", half(at.run / "model" / "model.safetensors")),
        "model.safetensors cannot be read as safetensors",
    ),
    "weights empty": (
        lambda at: at.spoilt("model.safetensors", b""),
        "model.safetensors cannot",
    ),
    "weights of another network": (swapped, "model.safetensors does not fit the CapsNet of"),
    "weights gone": (
        lambda at: without(at.copy("run/model"), "model.safetensors"),
        "holds no model.safetensors: the model in it is incomplete",
    ),
    "a pickle renamed": (renamed_pickle, "model.safetensors cannot be read as safetensors"),
    "only a pickle": (only_pickle, "pytorch_model.bin is a pickle, which can run code"),
    "config.json no JSON": (lambda at: at.spoilt("config.json", b"{"), "config.json is not"),
    "config.json binary": (
        lambda at: at.spoilt("config.json", b"\xff"),
        "config.json is not valid",
    ),
    "config.json of something else": (
        lambda at: at.spoilt("config.json", b"{}"),
        'config.json does not name an "architecture"',
    ),
    "an architecture of the future": (
        lambda at: at.model(architecture="CapsNet9"),
        "holds a CapsNet9, which this version of torchcaps does not have",
    ),
    "image size a word": (lambda at: at.model(image_size="big"), "config.json does not describe"),
    "image size too small": (lambda at: at.model(image_size=9), "config.json does not describe"),
    "names too few": (
        lambda at: at.model(class_names=["a"]),
        "class_names has 1 names for 3",
    ),
    "iterations none": (
        lambda at: at.model(routing={"name": "dynamic", "iterations": 0}),
        "config.json does not describe",
    ),
    "another number of classes": (
        lambda at: at.model(num_classes=4, class_names=list("abcd")),
        "model.safetensors does not fit the CapsNet of config.json",
    ),
    "border a word": (
        lambda at: at.model(metadata={"border_brightness": "dark"}),
        "config.json: metadata must be an object, and border_brightness in it a number",
    ),
    "config.json nested too deeply": (
        lambda at: at.spoilt("config.json", b"[" * 100_000),
        "config.json is not valid JSON (it is nested too deeply)",
    ),
    "config.json with a number of thousands of digits": (
        lambda at: at.spoilt("config.json", b'{"architecture": ' + b"9" * 5000 + b"}"),
        "config.json is not valid JSON (Exceeds the limit",
    ),
    "config.json with the argument self": (
        lambda at: at.model(self=3),
        "config.json has 'self', which a CapsNet of this version",
    ),
    "classes for which a few bytes ask for gigabytes": (
        lambda at: at.model(num_classes=3 * 10**8, class_names=None),
        "num_classes is 300000000; expected at most 1,000,000",
    ),
    "pixels for which a few bytes ask for gigabytes": (
        lambda at: at.model(image_size=3000),
        "model.safetensors does not fit the CapsNet of config.json: classes.weight should be",
    ),
    "weights that are no numbers": (
        lambda at: weights_with(at, lambda t: t.fill_(float("nan"))),
        "model.safetensors: conv.bias holds numbers that are not finite",
    ),
    "weights without end": (
        lambda at: weights_with(at, lambda t: t.fill_(float("-inf"))),
        "model.safetensors: conv.bias holds numbers that are not finite",
    ),
    "weights of integers": (
        lambda at: weights_with(at, lambda t: t.int()),
        "model.safetensors holds conv.bias as I32; expected one of F64, F32, F16, BF16",
    ),
    "weights that are true or false": (
        lambda at: weights_with(at, lambda t: t.bool()),
        "model.safetensors holds conv.bias as BOOL; expected one of",
    ),
    "weights of eight bits": (
        lambda at: weights_with(at, lambda t: t.to(torch.float8_e4m3fn)),
        "model.safetensors holds conv.bias as F8_E4M3; expected one of",
    ),
    "a folder whose name is not UTF-8": (
        lambda at: at.copy("run/model").rename(os.fsdecode(bytes(at.here) + b"/\xff")),
        "model.safetensors has a name that is not UTF-8, which safetensors cannot open",
    ),
    "metadata a list": (lambda at: at.model(metadata=[1]), "config.json: metadata must be an"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_models(torchcaps, place, kind):
    make, message = MODELS[kind]
    folder = make(place)
    image = place.picture("image.png")
    for arguments in (["eval", folder, "--data", place.data], ["predict", folder, image]):
        assert message in one_sentence(torchcaps(*arguments))
    assert not (place.here / "the pickle was run").exists()
    assert not list(Path.cwd().iterdir())


def test_the_pickle_would_have_run(tmp_path):
    """Else the tests above would show nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "ran")))  # noqa: S301
    assert (tmp_path / "ran").exists()


# Kind: (arguments, what the sentence must hold)
OTHERS = {
    "reproduce: moved": (lambda at: ["reproduce"], "run `python -m reproduction NAME --scale cpu`"),
    "reproduce: with the options it had": (
        lambda at: ["reproduce", "iterations", "--scale", "paper", "--list"],
        "the experiments are in the source, not in this package: in a checkout, run",
    ),
    "predict: out of a name that no file can have": (
        lambda at: ["predict", at.run, at.write("a.png", b"x"), "--out", "\ud800"],
        "'\\ud800' holds a character that no name of a file can have",
    ),
    "eval: no batch": (lambda at: ["eval", at.run, "--batch-size", 0], "--batch-size must be at"),
    "eval: threads": (lambda at: ["eval", at.run, "--threads", -1], "--threads must be at least 1"),
    "eval: too many threads": (
        lambda at: ["eval", at.run, "--threads", 10**12],
        "--threads must be at most 1024",
    ),
    "eval: other classes": (
        lambda at: ["eval", at.run, "--data", "mnist5k"],
        "mnist5k has the classes 0, 1, 2, 3, … (10), the model ant, bee, cow (3)",
    ),
    "eval: data dir of a file": (
        lambda at: ["eval", at.run, "--data", at.data, "--data-dir", "nope"],
        "--data-dir nope is for the files of mnist and fashion-mnist alone",
    ),
    "eval: data dir for the file of the run": (
        lambda at: ["eval", at.run, "--data-dir", "nope"],
        "--data-dir nope is for the files of mnist and fashion-mnist alone, and the data are /",
    ),
    "eval: data gone": (lambda at: ["eval", at.run, "--data", at.here / "x.npz"], "x.npz does not"),
    "eval: data not named": (
        lambda at: ["eval", at.copy("run/model")],
        "copy does not say what it was trained on: name it with --data",
    ),
    "eval: channels that cannot be made": (
        lambda at: [
            "eval", at.run,
            "--data", at.npz(images=np.stack([NOISE] * 2, 1), labels=LABELS),
        ],
        "the images have 2 channels, so channels=1 cannot be met",
    ),
    "eval: run.json damaged": (
        lambda at: ["eval", [at.copy(), at.write("copy/run.json", "{")][0]],
        "run.json is damaged",
    ),
    "bench: no GPU": (lambda at: ["bench", "--device", "cuda"], "torch sees no GPU here"),
    "bench: budget": (lambda at: ["bench", "--budget", "0"], "must be more than 0 seconds, got 0"),
    "bench: without an end": (
        lambda at: ["bench", "--budget", "inf"], "at most a day of seconds, got inf",
    ),
    "bench: threads": (lambda at: ["bench", "--threads", "0"], "--threads must be at least 1"),
    "bench: out is a file": (
        lambda at: ["bench", "--out", at.write("o.txt")], "o.txt is a file: name a folder",
    ),
    "bench: a table of other columns": (
        lambda at: ["bench", "--out", at.write("b/routing.csv", "a,b\n").parent],
        "routing.csv has other columns than these results: move it away, or name another folder",
    ),
    "predict: a table as the folder of pictures": (
        lambda at: ["predict", at.run, at.picture("a.png"), "--out", "x.csv"],
        "x.csv is the folder for the pictures: name a table of the answers by --to",
    ),
    "predict: no image": (lambda at: ["predict", at.run], "name at least one image after"),
    "predict: image gone": (lambda at: ["predict", at.run, at.here / "x.png"], "x.png cannot be"),
    "predict: a folder without images": (
        lambda at: ["predict", at.run, at.write("f/notes.txt").parent],
        "f holds no images; expected",
    ),
    "predict: a pattern without images": (
        lambda at: ["predict", at.run, at.here / "*.png"], "*.png matches no file: name files",
    ),
    "predict: a broken file": (
        lambda at: ["predict", at.run, at.write("a.png"), "--to", "x.csv"],
        "a.png is not an image that pillow can read; expected PNG, JPEG, BMP, GIF, WEBP, TIFF: "
        "replace or remove it",
    ),
    "predict: a table of another kind": (
        lambda at: ["predict", at.run, at.picture("a.png"), "--to", "x.xlsx"],
        "--to x.xlsx must end with .csv (a table) or .jsonl (JSON lines)",
    ),
    "predict: a table in the place of an image": (
        lambda at: ["predict", at.run, at.picture("a.png"), at.write("a.csv"), "--to",
                    at.here / "a.csv"],
        "a.csv is one of the images: name another file",
    ),
    "predict: a table in the place of a device": (
        lambda at: [
            "predict", at.run, at.picture("a.png"), "--to", link(at.here / "a.csv", "/dev/null"),
        ],
        "a.csv is a device: name a plain file",
    ),
    "predict: a model of integers": (
        lambda at: ["predict", weights_with(at, lambda t: t.int()), at.picture("a.png")],
        "holds conv.bias as I32",
    ),
    "predict: threshold": (
        lambda at: ["predict", at.run, at.picture("a.png"), "--threshold", "1.5"],
        "--threshold must be from 0 (never) to 1, got 1.5",
    ),
    "predict: threshold that is no number": (
        lambda at: ["predict", at.run, at.picture("a.png"), "--threshold", "nan"],
        "--threshold must be from 0 (never) to 1, got nan",
    ),
    "predict: a model's threshold": (
        lambda at: ["predict", at.model(metadata={"threshold": 2}), at.picture("a.png")],
        "config.json: metadata must be an object, and threshold in it a number from 0 to 1",
    ),
    "predict: no batch": (
        lambda at: ["predict", at.run, at.picture("a.png"), "--batch-size", "0"],
        "--batch-size must be at least 1, got 0",
    ),
    "predict: no picture": (lambda at: ["predict", at.run, at.write("a.png")], "a.png is not an"),
    "predict: empty file": (lambda at: ["predict", at.run, at.write("a.png", "")], "is empty"),
    "predict: far too large": (lambda at: ["predict", at.run, bomb(at)], "has more pixels"),
    "predict: out is a file": (
        lambda at: ["predict", at.run, at.picture("a.png"), "--out", at.write("o.txt")],
        "o.txt is no folder: name another place",
    ),
    "predict: out below a file": (
        lambda at: [
            "predict", at.run, at.picture("a.png"), "--out", at.write("o.txt") / "a" / "b",
        ],
        "o.txt is no folder: name another place",
    ),
    "predict: a table below a file": (
        lambda at: [
            "predict", at.run, at.picture("a.png"), "--to", at.write("o.txt") / "a" / "b.csv",
        ],
        "o.txt is no folder: name another place",
    ),
    "predict: images below the folder of a user": (
        lambda at: ["predict", at.run, "~/no such folder/*.png"],
        f"{Path.home()}/no such folder/*.png matches no file",
    ),
    "predict: a pattern that begins as a user does": (
        lambda at: ["predict", at.run, "~nobody*.png"], "~nobody*.png matches no file",
    ),
    "predict: an image of nobody": (
        lambda at: ["predict", at.run, "~nosuchuser/a.png"], "~nosuchuser/a.png cannot be",
    ),
    "eval: other classes behind the same ones": (
        lambda at: [
            "eval", of_letters(at.here),
            "--data", at.npz(images=NOISE, labels=np.arange(30) % 6,
                             class_names=np.array(list("abcdxf"))),
        ],
        "(6), the model a, b, c, d, … (6); class 5 is 'x' there and 'e' in the model: name data",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_eval_and_predict(torchcaps, place, kind):
    make, message = OTHERS[kind]
    arguments = make(place)
    before = listing(place.here)
    assert message in one_sentence(torchcaps(*arguments))
    assert listing(place.here) == before
    assert not list(Path.cwd().iterdir())


# What the parser itself answers
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["train", "--epochs", "abc"], ["--epochs", "abc"]),
        (["train", "--epochs"], ["--epochs"]),
        (["train", "--precision", "fp16"], ["fp16", "'bf16'"]),
        (
            ["train", "--learning-rat", "0.1"],
            ["--learning-rat (perhaps you meant --learning-rate)"],
        ),
        (["trian"], ["trian", "train"]),
        ([], ["train", "eval", "predict", "info"]),
        (["eval"], ["MODEL"]),
        (["eval", "x", "--split", "valid"], ["valid", "'test'"]),
        (["train", "--config"], ["--config"]),
    ],
)
def test_the_parser_answers_with_2(torchcaps, arguments, names):
    message = one_sentence(torchcaps(*arguments))
    assert all(name in message for name in names), message


# --- damaged checkpoints
def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 4
    elif how == "cut":
        del content[len(content) // 2 :]
    else:
        content = bytearray(b"garbage")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        ("safetensors", "flipped"),
        ("safetensors", "cut"),
        ("json", "flipped"),
        ("json", "cut"),
        ("json", "garbage"),
        ("json", "nested"),
        ("safetensors", "gone"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_advice_works(torchcaps, run, trained, suffix, how):
    path = run / "checkpoints" / f"step-00000015.{suffix}"
    if how == "gone":
        path.unlink()
    elif how == "nested":
        path.write_text("[" * 100_000)
    else:
        damage(path, how)
    message = one_sentence(torchcaps("train", "--resume", run))
    assert str(path) in message
    advised = message.rsplit("--resume ", 1)[1]
    assert advised == str(run / "checkpoints" / "step-00000014.safetensors")
    answer = torchcaps("train", "--resume", advised)
    assert answer.code == 0, answer.err
    assert "continuing after step 14 of 15" in answer.out
    assert weights_of(run) == weights_of(trained / "run")


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_pipe_in_the_place_of_a_checkpoint_is_not_waited_for(torchcaps, run, suffix):
    path = run / "checkpoints" / f"step-00000015.{suffix}"
    path.unlink()
    os.mkfifo(path)
    message = one_sentence(torchcaps("train", "--resume", run))
    assert f"{path} is a pipe: name a plain file" in message
    assert message.endswith(f"--resume {run / 'checkpoints' / 'step-00000014.safetensors'}")


def test_a_checkpoint_without_its_record_does_not_count(torchcaps, unfinished, trained):
    (unfinished / "checkpoints" / "step-00000014.json").unlink()
    before = listing(unfinished)
    message = one_sentence(torchcaps("train", "--resume", unfinished))
    assert f"{unfinished}/checkpoints holds no checkpoint to go on from: bring them" in message
    assert listing(unfinished) == before
    (unfinished / "metrics.csv").unlink()  # as if it was killed before its first checkpoint
    answer = torchcaps("train", "--resume", unfinished)
    assert answer.code == 0, answer.err
    assert weights_of(unfinished) == weights_of(trained / "run")


def test_data_that_changed_are_refused(torchcaps, unfinished, tmp_path):
    config = json.loads((unfinished / "config.json").read_text())
    np.savez(tmp_path / "a.npz", images=NOISE, labels=LABELS)
    config["data"] = str(tmp_path / "a.npz")
    (unfinished / "config.json").write_text(json.dumps(config))
    message = one_sentence(torchcaps("train", "--resume", unfinished))
    assert f"not those that the run {unfinished} began with (tiny, 96 training images)" in message
    assert "do not fit it: its class 1 is 'ant', and theirs is '0' (call it 'ant' again" in message


def test_tensorboard_that_is_not_installed(torchcaps, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    answer = torchcaps("train", "--data", place.data, "--tensorboard")
    assert 'pip install "torchcaps[tensorboard]"' in one_sentence(answer)
    assert not list(Path.cwd().iterdir())


# --- disks that are full or read-only
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_while_training(torchcaps, place, monkeypatch, call, number):
    """The checkpoint before is whole, and the run goes on from it once there is room."""
    real, calls = getattr(os, call), []

    def refuse(*arguments):
        calls.append(arguments)
        if len(calls) > (14 if call == "fsync" else 7):
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(storage.os, call, refuse)
    out = place.here / "run"
    config = tiny_config(out, data=str(place.data), epochs=3, precision="fp32", max_shift=0)
    message = one_sentence(torchcaps("train", *arguments_of(config)), code=1)
    assert f"the folder {out} cannot be written ([Errno {number}]" in message
    assert f"torchcaps train --resume {out}" in message
    monkeypatch.setattr(storage.os, call, real)
    assert find_checkpoint(out).step == 4
    assert not list(out.rglob(".partial-*"))
    assert torchcaps("train", "--resume", out).code == 0
    assert weights_of(out) == weights_of(place.run)


def test_a_disk_that_is_read_only_from_the_start(torchcaps, place, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(place.here / "run"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    answer = torchcaps("train", "--data", place.data, "--out", place.here / "run")
    assert f"{place.here / 'run'}: Read-only file system" in one_sentence(answer)


def test_a_limit_on_the_size_of_files_stops_a_run_in_one_sentence(place):
    """A real refusal by the system, in a real process."""
    out, limit = place.here / "run", 8 * 2**20  # a checkpoint takes 14 MB
    config = tiny_config(out, data=str(place.data), epochs=1)
    done = subprocess.run(
        [sys.executable, "-m", "torchcaps", "train", *arguments_of(config)],
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"torchcaps: the folder {out} cannot be written (")
    assert done.stderr.count("\n") == 1
    assert find_checkpoint(out) is None
    assert not list(out.rglob(".partial-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everywhere")
def test_folders_without_permission(torchcaps, place):
    closed = place.classes("ant", "bee")
    closed.chmod(0)
    try:
        assert "cannot be read" in one_sentence(torchcaps("train", "--data", closed))
        out = closed / "run"
        answer = torchcaps("train", "--data", place.data, "--out", out)
        assert f"{closed}" in one_sentence(answer)
    finally:
        closed.chmod(0o755)


def test_a_disk_that_is_full_when_the_model_is_saved(torchcaps, place, monkeypatch):
    """safetensors writes by itself, and raises an error of its own."""
    from safetensors import SafetensorError

    from torchcaps.models import pretrained

    def refuse(*arguments, **options):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    out = place.here / "run"
    config = tiny_config(out, data=str(place.data), epochs=3, precision="fp32", max_shift=0)
    with monkeypatch.context() as patch:
        patch.setattr(pretrained.safetensors.torch, "save_file", refuse)
        message = one_sentence(torchcaps("train", *arguments_of(config)), code=1)
    assert f"the folder {out} cannot be written (I/O error: No space left" in message
    assert "not finished" in one_sentence(torchcaps("eval", out))
    assert torchcaps("train", "--resume", out).code == 0
    assert weights_of(out) == weights_of(place.run)


def test_predict_on_a_full_disk(torchcaps, place, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", refuse)
    answer = torchcaps("predict", place.run, place.picture("a.png"))
    assert "No space left on device" in one_sentence(answer)
    assert not listing(Path.cwd())


# --- the same from Python: (call, type of the error, what it must say)
IMAGES = torch.from_numpy(NOISE[:, None])
TINY = tiny_data()


def with_images(images):
    part = ImageData(images, torch.from_numpy(LABELS), NAMES, "toy")
    return TrainTest(part, part)


PYTHON = {
    "epochs a word": (lambda at: TrainConfig(epochs="3"), ValueError, "--epochs must be int"),  # type: ignore[arg-type]
    "epochs a float": (lambda at: TrainConfig(epochs=3.0), ValueError, "--epochs must be int"),  # type: ignore[arg-type]
    "an unknown option": (lambda at: TrainConfig(epoch=3), TypeError, "epoch"),  # type: ignore[call-arg]
    "out a string": (lambda at: TrainConfig(out="run"), ValueError, "--out must be Path or null"),  # type: ignore[arg-type]
    "precision": (lambda at: TrainConfig(precision="fp8"), ValueError, "one of auto, fp32, bf16"),  # type: ignore[arg-type]
    "learning rate": (lambda at: TrainConfig(learning_rate=-1), ValueError, "--learning-rate must"),
    "images too small": (
        lambda at: train(tiny_config(at.here / "r"), with_images(IMAGES[..., :16])),
        ValueError,
        "toy does not fit capsnet_small: images of 17×16 are too small",
    ),
    "unknown model": (
        lambda at: train(tiny_config(at.here / "r", model="resnet"), TINY),
        ValueError,
        "no model is called 'resnet': did you mean em_capsnet? known are",
    ),
    "images of floats to 255": (
        lambda at: with_images(IMAGES.float()),
        ValueError,
        "images holds float32 from 0 to 255",
    ),
    "images of NaN": (lambda at: with_images(IMAGES * torch.nan), ValueError, "from nan to nan"),
    "images no tensor": (lambda at: with_images(NOISE), TypeError, "images is ndarray"),
    "resume nothing": (lambda at: resume(at.here / "gone"), ValueError, "gone does not exist"),
    "resume no run": (lambda at: resume(at.here), ValueError, "is not the folder of a run"),
    "resume with other data": (
        lambda at: resume(at.copy(), with_images(IMAGES)),
        ValueError,
        "the data are not those that the run",
    ),
    "load nothing": (lambda at: load_model(at.here / "gone"), ValueError, "gone does not exist"),
    "out holds a run": (
        lambda at: train(tiny_config(at.run), TINY),
        ValueError,
        "already holds a run",
    ),
}


@pytest.mark.parametrize("kind", PYTHON)
def test_python(place, kind):
    call, error, message = PYTHON[kind]
    with pytest.raises(error) as caught:
        call(place)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (place.here / "r").exists()


def test_there_are_enough_kinds():
    """45 through the command line and 15 from Python were promised."""
    assert len(TRAIN) + len(MODELS) + len(OTHERS) >= 45
    assert len(PYTHON) >= 15


def test_the_home_folder_is_meant_by_a_tilde_that_no_shell_has_seen(torchcaps, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place.here))
    answer = torchcaps("explore", place.run, "--no-open", "--out=~/page.html")
    assert answer.out == f"explorer: {place.here / 'page.html'}\n"
    assert (place.here / "page.html").is_file()


def test_pillow_adds_nothing_to_the_sentence_about_a_damaged_image(torchcaps, place):
    path = place.here / "a.tiff"
    Image.fromarray(NOISE[0]).save(path)
    content = bytearray(path.read_bytes())
    del content[-6:]  # the last entry of the directory
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one_sentence(torchcaps("predict", place.run, path))
    assert not [warning for warning in caught if "PIL" in warning.filename]


# --- options that cannot be parsed
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --image-size nan", "--image-size is 'nan'; expected a whole number"),
        ("train --threads 1.5", "--threads is '1.5'; expected a whole number"),
        ("train --learning-rate abc", "--learning-rate is 'abc'; expected a number"),
        ("train --augment what", "invalid choice 'what' for argument '--augment'. Expected one of "
                                 "('auto', 'none', 'digits', 'drawings', 'photos')"),
        ("train --epohcs 3", "Unrecognized options: --epohcs (perhaps you meant --epochs)"),
        ("predict r1 pics --thresh 0.4", "Unrecognized options: --thresh (perhaps you meant --thr"),
        ("predict --thresh 0.4 r1 pics", "Unrecognized options: --thresh (perhaps you meant --thr"),
        ("predict --thresh=0.4 --oot a", "Unrecognized options: --thresh (perhaps you meant "
                                         "--threshold), --oot (perhaps you meant --out)"),
        ("eval --model r1", "Unrecognized options: --model (write its value without an option"),
        ("train -epochs 3", "Unrecognized options: -epochs (perhaps you meant --epochs)"),
        ("predict r1 a.png -o out", "Unrecognized options: -o (perhaps you meant --out)"),
        ("predict r1 -dash.png", "Unrecognized options: -dash.png (for a file of that name write "
                                 "./-dash.png)"),
        ("train pics", "train takes no argument 'pics': did you mean --data pics?"),
        ("train --data my nice pics", "train takes no argument 'nice': did you mean --data "
                                      "'my nice pics'?"),
        ("train --epochs 3 4", "train takes no argument '4': leave it out"),
        ("eval r1 pics", "eval takes no argument 'pics' beside MODEL: did you mean --data pics?"),
        ("eval --json r1 all", "eval takes no argument 'all' beside MODEL: did you mean --split a"),
        ("export r1 onnx", "export takes no argument 'onnx' beside MODEL: did you mean --to onnx?"),
        ("explore r1 a.html", "explore takes no argument 'a.html' beside MODEL: did you mean --out "
                              "a.html?"),
        ("bench mnist", "bench takes no argument 'mnist': did you mean --shapes mnist?"),
        ("bench --shapes mnist --device cpu cifar", "bench takes no argument 'cifar': did you m"),
        ("info all", "info takes no argument 'all': leave it out"),
        ("predict r1 a.png --json b.png", "predict takes no argument 'b.png' behind --json: name "
                                          "all images side by side"),
        ("train --epochs", "Missing value for argument '--epochs'"),
        ("eval", "Missing from torchcaps eval: MODEL"),
        ("bench --shapes nosuch", "invalid choice 'nosuch' for argument '--shapes'. Expected one"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_options_that_cannot_be_parsed(torchcaps, monkeypatch, tmp_path, words, said, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(tmp_path)  # in which no word is the name of a file
    message = one_sentence(torchcaps(*words.split()))
    if columns != "20":  # where words are broken
        assert message.startswith(said)
    see = "? See" if "did you m" in said else "; see"
    assert message.endswith(f"{see} torchcaps {words.split()[0]} --help")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --balance yes", "--balance takes no value, got 'yes': write --balance or"),
        ("train --no_balance=True", "--no_balance takes no value, got 'True': write --balance or"),
        ("predict r1 --json yes", "--json takes no value, got 'yes': write --json or --no-json"),
        ("eval --json 1 r1", "--json takes no value, got '1'"),
        ("explore --open=there", "--open takes no value, got 'there': write --open or --no-open"),
    ],
)
def test_options_that_take_no_value(torchcaps, place, words, said):
    assert one_sentence(torchcaps(*words.split())).startswith(said)


def test_an_image_may_be_called_as_a_value_is(torchcaps, place, monkeypatch):
    monkeypatch.chdir(place.here)
    place.picture("a.png").rename("yes")
    answer = torchcaps("predict", place.run, "--json", "yes", "--pictures", "no")
    assert [value["image"] for value in json.loads(answer.out)] == ["yes"]


@pytest.mark.parametrize(
    ("word", "meant"), [("nosuch", ""), ("trian", " (perhaps you meant train)")]
)
def test_what_is_no_command(torchcaps, word, meant):
    message = one_sentence(torchcaps(word, "--epochs", "3"))
    assert message == (
        f"there is no command '{word}'{meant}; expected train, eval, predict, explore, export, "
        "info, bench, reproduce; see torchcaps --help"
    )


def test_a_box_that_nobody_knows_is_printed_as_it_is(capsys):
    def parse():
        print("something else", file=sys.stderr)
        raise SystemExit(2)

    with pytest.raises(SystemExit):
        in_one_sentence(parse, "torchcaps")
    assert capsys.readouterr().err == "something else\n"


@pytest.mark.parametrize("option", ["--data", "--out", "--config", "--model", "--init"])
def test_a_value_of_thousands_of_letters_is_known_by_its_ends(torchcaps, option):
    value = "start" + 5000 * "x" + "end"
    message = one_sentence(torchcaps("train", option, value))
    assert len(message) < 1500
    assert "start" in message
    assert "xend" in message
    assert " … 4,7" in message
    assert " letters … " in message
