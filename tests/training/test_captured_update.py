"""Steps that are captured and replayed: on a GPU for real, elsewhere by a stand-in for its graphs.

The stand-in runs the captured update again on the tensors that it was captured with, as a graph
would, so that a batch that is not copied there changes nothing.
"""

import warnings
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from tests.small_models import CASES
from tests.small_models import small as small_network
from tests.small_runs import tiny_config, tiny_data
from torchcaps.models import CapsNet, create_model, list_models
from torchcaps.routing import Routing, sweep
from torchcaps.training import captured_update
from torchcaps.training.build import build_model
from torchcaps.training.callback import Callback
from torchcaps.training.captured_update import (
    EAGER_STEPS,
    CapturedUpdate,
    does_the_same_at_every_step,
)
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.loop import train_task
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder
from torchcaps.training.task import StepResult

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
CPU = torch.device("cpu")


class Update:
    """Adds up batches, as an update changes weights; counts how often its Python code runs."""

    def __init__(self) -> None:
        self.total = torch.zeros(2)
        self.runs = 0

    def __call__(self, batch: tuple[Tensor, dict[str, Tensor]]) -> StepResult:
        self.runs += 1
        first, second = batch[0], batch[1]["second"]
        self.total += first + 10 * second
        return StepResult(self.total.sum(), {"first": first.mean()})


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for torch's graphs and streams; `made` are the graphs, `waits` what torch says."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    stood_in = SimpleNamespace(
        made=[],
        waits=False,
        mode=0,
        Stream=lambda device: stream,
        stream=lambda stream: nullcontext(),
        current_stream=lambda device: stream,
        CUDAGraph=SimpleNamespace,
        get_sync_debug_mode=lambda: 0,
    )

    def set_sync_debug_mode(mode: int | str) -> None:
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
        if stood_in.waits and mode == "warn":
            warnings.warn("called a synchronizing CUDA operation (Triggered …)", stacklevel=1)

    @contextmanager
    def capturing(graph: Any, **options: Any) -> Any:
        stood_in.made.append(graph)
        yield

    stood_in.set_sync_debug_mode = set_sync_debug_mode
    stood_in.graph = capturing
    monkeypatch.setattr(
        captured_update, "torch", SimpleNamespace(**vars(torch) | {"cuda": stood_in})
    )
    return stood_in


class Captured(CapturedUpdate):
    """With graphs of the stand-in: nothing is computed while capturing, all of it by a replay."""

    def _capture(self, batch: Any) -> None:
        update, kept = self.update, []

        def capture(held: Any) -> StepResult:
            before = update.total.clone()
            kept.append(held)
            result = update(held)
            update.total.copy_(before)
            return StepResult(result.loss.clone(), {"first": result.measures["first"].clone()})

        self.update = capture
        super()._capture(batch)
        self.update = update
        if self.graph is not None:

            def replay() -> None:
                result = update(kept[0])
                self.result.loss.copy_(result.loss)
                self.result.measures["first"].copy_(result.measures["first"])

            self.graph.replay = replay  # type: ignore[method-assign]


def batches(count: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
    torch.manual_seed(0)
    return [(torch.randn(2), {"second": torch.randn(2)}) for _ in range(count)]


def test_every_batch_reaches_the_captured_places(graphs: SimpleNamespace) -> None:
    update, plain = Update(), Update()
    captured = Captured(update, CPU)
    for number, batch in enumerate(batches(8)):
        found, expected = captured(batch), plain(batch)
        torch.testing.assert_close(found.loss, expected.loss)
        torch.testing.assert_close(found.measures, expected.measures)
        assert (captured.graph is not None) == (number >= EAGER_STEPS)
    assert torch.equal(update.total, plain.total)
    assert len(graphs.made) == 1


def test_a_task_may_use_the_tensors_of_its_batch_again(graphs: SimpleNamespace) -> None:
    """They are not the places that later batches are copied to."""
    captured = Captured(Update(), CPU)
    mine = batches(8)
    before = [batch[0].clone() for batch in mine]
    for batch in mine:
        captured(batch)
    assert all(torch.equal(batch[0], kept) for batch, kept in zip(mine, before))


def test_a_batch_of_other_shapes_is_not_made_to_fit(graphs: SimpleNamespace) -> None:
    update, plain = Update(), Update()
    captured = Captured(update, CPU)
    mine = batches(8)
    mine[5] = torch.ones(1), {"second": torch.ones(1)}
    mine[6] = mine[6][0].double(), mine[6][1]
    for batch in mine:
        torch.testing.assert_close(captured(batch).loss, plain(batch).loss)
    assert torch.equal(update.total, plain.total)


@pytest.mark.parametrize(
    "other",
    [
        lambda first, second: (first, {"second": second, "mix": 0.5}),  # a number changes
        lambda first, second: (first, {"mix": 0.7, "second": second}),  # so does the order
        lambda first, second: [first, {"second": second}],
    ],
)
def test_numbers_and_nesting_are_no_part_of_a_graph(graphs: SimpleNamespace, other: Any) -> None:
    update, plain = Update(), Update()
    captured = Captured(update, CPU)
    for number, (first, rest) in enumerate(batches(8)):
        batch = (first, rest) if number < 5 else other(first, rest["second"])
        if number == 5:
            assert captured.graph is not None
            captured.graph.replay = None  # type: ignore[method-assign]
        torch.testing.assert_close(captured(batch).loss, plain(batch).loss)
    assert torch.equal(update.total, plain.total)


def test_an_update_that_waits_is_not_captured(
    graphs: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is said once."""
    graphs.waits = True
    update, plain = Update(), Update()
    captured = CapturedUpdate(update, CPU)
    for batch in batches(8):
        assert torch.equal(captured(batch).loss, plain(batch).loss)
    assert graphs.made == []
    (line,) = caplog.messages
    assert "cannot be captured as a CUDA graph (it waits for a number from the GPU)" in line


def test_what_cannot_be_captured_is_done_as_before(
    graphs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, plain = Update(), Update()
    captured = CapturedUpdate(update, CPU)

    @contextmanager
    def refuse(graph: Any, **options: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")
        yield

    monkeypatch.setattr(captured_update.torch.cuda, "graph", refuse)
    for batch in batches(8):
        torch.manual_seed(0)
        assert torch.equal(captured(batch).loss, plain(batch).loss)
    assert update.runs == 8
    assert captured.refused == "operation not permitted when stream is capturing"


# --- which models


@pytest.mark.parametrize("name", list_models())
def test_the_networks_of_the_package_do_the_same_at_every_step(name: str) -> None:
    with torch.device("meta"):
        assert does_the_same_at_every_step(create_model(name))


@pytest.mark.parametrize("backend", ["tiles", "reference"])
@pytest.mark.parametrize(("name", "routing"), CASES)
def test_no_network_or_routing_waits_for_a_number_from_a_gpu(
    name: str, routing: str | None, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that does cannot be captured; torch's fake tensors have no numbers to wait for."""
    monkeypatch.setattr(sweep, "on_gpu", lambda votes: True)
    monkeypatch.setattr(sweep, "tile_bytes", lambda votes: 2**12)
    model = small_network(name, routing).train()
    routings = [module for module in model.modules() if isinstance(module, Routing)]
    for one in routings:
        one.backend = backend if one.by_tiles else "reference"
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.rand(4, model.channels, *model.image_size)
        labels = torch.randint(model.num_classes, (4,))
        output = model(images, labels)
        model.loss(output, images, labels).total.backward()
    assert any(isinstance(weight.grad, FakeTensor) for weight in model.parameters())


class Counting(nn.Module):
    """A part of one's own, which may do something else at each step."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def small() -> CapsNet:
    return CapsNet(25, 1, 3, conv_channels=8, primary_types=2, kernel_size=7, conv_stride=2)


def nothing(*arguments: Any) -> None:
    """A hook."""


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.add_module("own", Counting()),
        lambda net: net.classes.register_forward_pre_hook(nothing),
        lambda net: net.classes.routing.register_forward_hook(nothing),
        lambda net: net.classes.register_full_backward_hook(nothing),
        lambda net: net.classes.register_full_backward_pre_hook(nothing),
        lambda net: net.classes.weight.register_hook(nothing),
        lambda net: net.classes.weight.register_post_accumulate_grad_hook(nothing),
        lambda net: setattr(net, "loss", nothing),
        lambda net: setattr(net.classes, "forward", nothing),
    ],
)
def test_a_part_of_ones_own_or_a_hook_is_run_at_every_step(change: Any) -> None:
    net = small()
    assert does_the_same_at_every_step(net)
    change(net)
    assert not does_the_same_at_every_step(net)


def test_a_hook_of_all_modules_is_run_at_every_step() -> None:
    handle = nn.modules.module.register_module_forward_hook(nothing)
    assert not does_the_same_at_every_step(small())
    handle.remove()
    assert does_the_same_at_every_step(small())


class WeighedAnew(ImageClassification):
    """A loss that changes with the step."""

    def losses(self, model: Any, batch: Any, precision: Any) -> StepResult:
        output = model(*batch)
        loss = model.loss(output, *batch).total
        return StepResult(loss, dict.fromkeys(self.measures, loss))


def test_a_task_with_code_of_ones_own_says_itself_whether_it_repeats() -> None:
    assert ImageClassification(tiny_data(), "tiny").repeats(small())
    assert not WeighedAnew(tiny_data(), "tiny").repeats(small())


def test_losses_of_ones_own_need_keep_no_answers(tmp_path: Path) -> None:
    """For a run without images kept aside, which is diagnosed by the last ones it learnt from."""
    config = tiny_config(tmp_path / "run", epochs=1, validation=0.0)
    task = WeighedAnew(tiny_data(), "tiny")
    result = train_task(config, task, build_model(config, task.training))
    assert (result.folder / "result.json").exists()


def run_of(tmp_path: Path, callbacks: Sequence[Callback] = (), **options: Any) -> Run:
    config = tiny_config(tmp_path / "run", precision="fp32", epochs=8, **options)
    task = ImageClassification.from_config(config, tiny_data())
    return Run(config, task, build_model(config, task.training), callbacks=callbacks)


def state(run: Run) -> list[Tensor]:
    return list(run.model.state_dict().values())


def test_nothing_is_captured_on_a_cpu(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.prepare()
    assert not isinstance(run.update, CapturedUpdate)


# --- on a GPU


@needs_gpu
@pytest.mark.parametrize(
    "model", ["capsnet_small", "image_capsnet", "baseline_cnn", "em_capsnet_small"]
)
def test_a_captured_training_gives_the_same_bits(model: str, tmp_path: Path) -> None:
    """Over the end of an epoch, with dropout, shortened gradients and a rate that falls."""
    trained = []
    for captured in (True, False):
        run = run_of(tmp_path / str(captured), model=model, clip=0.1)
        if not captured:
            run.task.repeats = lambda model: False  # type: ignore[method-assign]
        run.begin()
        run.prepare()
        run.wrapped.train()
        run.start_clock()
        for step in range(2 * run.sampler.steps_per_epoch + 1):
            run.do_step()
            if step + 1 == run.sampler.steps_per_epoch:
                run.close_epoch(1)
                run.wrapped.train()
        run.release()
        assert isinstance(run.update, CapturedUpdate) == captured
        trained.append(run)
    first, second = trained
    assert isinstance(first.update, CapturedUpdate)
    assert first.update.graph is not None
    assert first.running_means.values == second.running_means.values
    assert all(map(torch.equal, state(first), state(second)))


@needs_gpu
def test_a_step_that_waits_is_not_captured_and_goes_on(tmp_path: Path) -> None:
    run = run_of(tmp_path, model="baseline_cnn")  # it draws, too
    losses = run.task.losses

    def waiting(*arguments: Any) -> StepResult:
        result: StepResult = losses(*arguments)
        float(result.loss)
        return result

    run.task.losses = waiting  # type: ignore[assignment,method-assign]
    run.task.repeats = lambda model: True  # type: ignore[method-assign]
    run.prepare()
    run.wrapped.train()
    for _ in range(8):
        run.do_step()
    assert isinstance(run.update, CapturedUpdate)
    assert run.update.refused == "it waits for a number from the GPU"


@needs_gpu
def test_a_resumed_training_gives_the_same_bits(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.begin()
    run.prepare()
    run.wrapped.train()
    for _ in range(6):
        run.do_step()
    run.save()
    for _ in range(6):
        run.do_step()
    run.release()
    again = run_of(tmp_path)
    again.resume(RunFolder(run.folder.path), run.folder.path)
    again.prepare()
    again.wrapped.train()
    for _ in range(6):
        again.do_step()
    again.release()
    assert all(map(torch.equal, state(run), state(again)))


@needs_gpu
def test_a_run_with_callbacks_is_not_captured(tmp_path: Path) -> None:
    run = run_of(tmp_path, callbacks=[Callback()])
    run.prepare()
    assert not isinstance(run.update, CapturedUpdate)
