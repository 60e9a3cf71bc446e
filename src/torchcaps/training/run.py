"""A training run: what a step needs, what a checkpoint holds, how they are saved and restored."""

import json
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from torchcaps.data import ImageData, TrainTest, stratified_split
from torchcaps.errors import InputError, RunStopped
from torchcaps.models import Losses
from torchcaps.seeding import mix_seed
from torchcaps.storage import write_json
from torchcaps.training.batches import Batches
from torchcaps.training.build import build_model, describe_data
from torchcaps.training.checkpoint import find_checkpoint, restore, save_checkpoint, snapshot
from torchcaps.training.config import TrainConfig
from torchcaps.training.metrics import evaluate
from torchcaps.training.optimizer import adam
from torchcaps.training.precision import choose_precision
from torchcaps.training.run_folder import RunFolder, describe_machine
from torchcaps.training.sums import EpochSums
from torchcaps.training.tracker import check_tracker

__all__ = ["Run"]


class Run:
    """A training run between its steps: all that a step needs and a checkpoint holds."""

    folder: RunFolder
    wrapped: nn.Module  # the model, behind accelerate

    def __init__(self, config: TrainConfig, data: TrainTest) -> None:
        check_tracker(config.tensorboard)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        self.data = data
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.device = self.accelerator.device
        self.main = self.accelerator.is_main_process
        self.precision = choose_precision(config.precision, self.device)
        training, self.validation = split_off_validation(data.train, config.validation)
        self.batches = Batches(
            training,
            config.batch_size,
            config.seed,
            config.max_shift,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self.total_steps = config.epochs * self.batches.steps_per_epoch
        self.model = build_model(config, training)
        self.model.to(self.device, memory_format=self.precision.memory_format)  # type: ignore[call-overload]
        self.optimizer = adam(self.model, config.learning_rate)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.sums = EpochSums(self.device)
        self.seconds = 0.0  # spent on this epoch before `self.began`
        self.began = 0.0

    def begin(self) -> None:
        """Make the folder of a new run."""
        made: list[Any] = [None]
        if self.main:
            try:
                made = [RunFolder.create(self.config, self.data.train.name).path]
            except (InputError, OSError) as error:  # all processes must hear of it
                made = [error]
        if self.batches.world > 1:
            broadcast_object_list(made)
        if isinstance(made[0], Exception):
            raise made[0]
        self.folder = RunFolder(made[0])
        self._write_facts()

    def go_on(self, folder: RunFolder, path: Path) -> None:
        """Take up a run where a checkpoint left it."""
        self.folder = folder
        if self.main:
            folder.tidy()
        if not self.anyone(folder.run.exists()):  # killed before its first step
            self._write_facts()
        began_with = folder.read_data_facts()
        if began_with != json.loads(json.dumps(describe_data(self.data))):
            raise InputError(
                f"the data are not those that the run {folder.path} began with "
                f"({began_with['name']}, {began_with['train']} training images): "
                "bring them back, or start a new run"
            )
        checkpoint = find_checkpoint(path)
        if checkpoint is None:
            return
        try:
            restore(self.model, self.optimizer, checkpoint.tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{folder.checkpoints} holds the checkpoints of another model than "
                f"{folder.config} describes: bring back the file that the run began with"
            ) from error
        self.step = checkpoint.step
        self.history = checkpoint.counters["history"]
        if self.main:  # they are sums over all processes
            self.sums = EpochSums(self.device, checkpoint.counters["sums"])
            self.seconds = checkpoint.counters["seconds"]

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.precision.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision.autocast)

    def prepare(self) -> None:
        """Wrap the model for as many processes as there are, once its state is in place."""
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)

    def start_clock(self) -> None:
        """Begin to count the seconds of an epoch."""
        self.began = time.perf_counter()

    def do_step(self) -> None:
        """One batch: forward, backward, update."""
        config = self.config
        # Dropout too is a function of (seed, step): no state of a generator has to be saved.
        torch.manual_seed(mix_seed("step", config.seed, self.step, self.batches.rank))
        decay: float = config.final_learning_rate ** (self.step / self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * decay
        losses, right = self.answer_batch()
        self.optimizer.zero_grad()
        self.accelerator.backward(losses.total)
        self.optimizer.step()
        self.sums.add(losses, right, self.step)
        self.step += 1

    def answer_batch(self) -> tuple[Losses, Tensor]:
        """The losses of this step's batch, and which of its images are answered rightly, `[b]`."""
        images, labels = self.batches.batch(self.step)
        images = images.to(self.device, memory_format=self.precision.memory_format)
        labels = labels.to(self.device)
        with self.autocast():
            output = self.wrapped(images, labels)
        right = output.activation.argmax(dim=1) == labels
        return self.model.loss(output, images, labels), right

    def close_epoch(self, epoch: int) -> dict[str, Any]:
        """Validate, save, and give the epoch's row of metrics."""
        self._check_finite()
        sums, seconds = self._gathered_sums(), self._seconds()
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": self.step,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **sums.means(),
            "validation_loss": None,
            "validation_accuracy": None,
            "seconds": round(seconds, 3),
            "images_per_second": round(sums.images / seconds, 1),
        }
        if self.validation is not None and self.main:
            measured = evaluate(self.model, self.validation, autocast=self.autocast())
            row["validation_loss"] = measured.loss
            row["validation_accuracy"] = measured.accuracy
        self.history.append(row)
        self.sums = EpochSums(self.device)
        self.seconds = 0.0
        self.start_clock()
        self.save()
        if self.main:
            self.folder.write_metrics(self.history)
        return row

    def save(self) -> None:
        """Write a checkpoint, unless a number has gone wrong."""
        self._check_finite()
        sums = self._gathered_sums()
        if self.main:
            save_checkpoint(
                self.folder.checkpoints,
                self.step,
                snapshot(self.model, self.optimizer),
                {"history": self.history, "sums": sums.values, "seconds": self._seconds()},
            )

    def _check_finite(self) -> None:
        """Stop before a checkpoint could be written with weights that a NaN has reached."""
        steps = self.accelerator.gather(self.sums.first_bad_step.reshape(1)).tolist()
        bad = min((step for step in steps if step >= 0), default=None)
        if bad is not None:
            raise self._diverged(f"the loss is not finite at step {bad + 1}")
        # An update may overflow though its loss was finite.
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise self._diverged(f"the weights are not finite after step {self.step}")

    def _diverged(self, what: str) -> RunStopped:
        return RunStopped(
            f"{what}, so the run {self.folder.path} was stopped; its checkpoints are from before; "
            f"a --learning-rate below {self.config.learning_rate:g} may help",
            exit_code=1,
        )

    def anyone(self, flag: bool) -> bool:
        """Whether any process says so: a signal may reach one of them first."""
        if self.batches.world == 1:
            return flag
        flags = self.accelerator.gather(torch.tensor([flag], device=self.device))
        return bool(flags.any())

    def _gathered_sums(self) -> EpochSums:
        """The sums over all processes."""
        total = self.accelerator.reduce(self.sums.tensor.clone(), reduction="sum")
        return EpochSums(self.device, total.tolist())

    def _seconds(self) -> float:
        return self.seconds + time.perf_counter() - self.began

    def _write_facts(self) -> None:
        if self.main:
            facts = {
                "machine": describe_machine(),
                "seed": self.config.seed,
                "precision": self.precision.name,
                "processes": self.batches.world,
                "data": describe_data(self.data),
            }
            write_json(self.folder.run, facts)
        self.accelerator.wait_for_everyone()


def split_off_validation(data: ImageData, fraction: float) -> tuple[ImageData, ImageData | None]:
    """(training, validation) images; the same split in every run, whatever its seed."""
    return (data, None) if fraction == 0 else stratified_split(data, fraction)
