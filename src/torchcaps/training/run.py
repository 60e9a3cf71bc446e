"""A training run: what a step needs, what a checkpoint holds, how they are saved and restored."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list, send_to_device
from torch import nn

from torchcaps.errors import InputError, RunStopped
from torchcaps.models import Classifier
from torchcaps.seeding import mix_seed
from torchcaps.storage import write_json
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.best_weights import (
    best_epoch,
    check_best,
    drop_earlier,
    load_best,
    save_best,
)
from torchcaps.training.callback import Callback, check_callbacks
from torchcaps.training.captured_update import CapturedUpdate, to_pinned_memory
from torchcaps.training.checkpoint import (
    Checkpoint,
    find_checkpoint,
    restore,
    save_checkpoint,
    snapshot,
)
from torchcaps.training.config import EPOCHS, TrainConfig, fixed_options
from torchcaps.training.epoch_columns import check_columns, plain_measures
from torchcaps.training.fine_tuning import settings_of
from torchcaps.training.free_cores import FreeCores
from torchcaps.training.optimizer import adam, make_capturable, set_learning_rate
from torchcaps.training.precision import choose_precision
from torchcaps.training.run_folder import NOTES, RunFolder, describe_machine
from torchcaps.training.run_lock import RunLock
from torchcaps.training.running_means import RunningMeans
from torchcaps.training.same_data import check_same_data, data_facts
from torchcaps.training.schedule import rate_factor
from torchcaps.training.settings import apply_settings
from torchcaps.training.task import Model, StepResult, Task
from torchcaps.training.task_losses import TaskLosses
from torchcaps.training.trainable import check_trainable

__all__ = ["OtherModel", "Run"]


class Run:
    """A training run between its steps: all that a step needs and a checkpoint holds.

    Args:
        config: how long, at which rates, on what and into which folder it trains. Options of
            images and of the network are the task's and the model's: they change nothing here.
        task: what is trained.
        model: whose weights are trained, from what they are; it is moved to the device.
        callbacks: see `Callback`.
        after_step: called after each step, before a checkpoint, while the clock of the epoch stands
            still: after a kill in between, the step is done again, and so is the call.
        resume_by: what a person is told to continue the run with; `{folder}` is its folder.
    """

    folder: RunFolder
    wrapped: nn.Module  # the model and its losses, behind accelerate
    update: Callable[[Any], StepResult]  # of a step, once it is prepared

    def __init__(
        self,
        config: TrainConfig,
        task: Task[Model, Any],
        model: Model,
        *,
        callbacks: Sequence[Callback] = (),
        after_step: "Callable[[Run], None] | None" = None,
        resume_by: str = "resume_task({folder!r}, task, model)",
    ) -> None:
        apply_settings(config)
        self.epochs = EPOCHS if config.epochs is None else config.epochs
        self.config = replace(config, epochs=self.epochs)
        self.task: Task[Any, Any] = task
        self.callbacks = check_callbacks(callbacks)
        self.after_step = after_step
        self.stopping = False  # asked for by a callback
        check_columns(task, self.config)
        check_trainable(model)
        self.resume_by = resume_by
        # A loss may leave parameters out, as one of activations alone does those of poses.
        some_unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(), kwargs_handlers=[some_unused]
        )
        self.device = self.accelerator.device
        self.is_main = self.accelerator.is_main_process
        last = getattr(model, "channels_last", False) is True  # any module may have such a name
        self.precision = choose_precision(config.precision, self.device, channels_last=last)
        self.sampler = BatchSampler(
            task.examples_per_epoch,
            config.batch_size,
            config.seed,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            noun=task.examples,
        )
        self.total_steps = self.epochs * self.sampler.steps_per_epoch
        self.model: nn.Module = model
        if self.sampler.world > 1 and self.device.type == "cuda":  # there is none for CPUs
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.model.to(self.device, memory_format=self.precision.memory_format)  # type: ignore[call-overload]
        self.lock: RunLock | None = None
        alone = self.device.type == "cpu" and self.sampler.world == 1
        self.cores = FreeCores(follow=alone and config.threads is None)
        self.optimizer = adam(self.model, config.learning_rate, config.weight_decay)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.running_means = RunningMeans(task.measures, self.device)
        self.seconds = 0.0  # spent on this epoch before `self.began`
        self.began = 0.0

    def begin(self) -> None:
        """Make the folder of a new run."""
        made: list[Any] = [None]
        if self.is_main:
            try:
                made = [RunFolder.create(self.config, self.task.name).path]
                self.lock = RunLock(made[0])
            except (InputError, OSError) as error:  # all processes must hear of it
                made = [error]
        if self.sampler.world > 1:
            broadcast_object_list(made)
        if isinstance(made[0], Exception):
            raise made[0]
        self.folder = RunFolder(made[0])
        try:
            self._write_facts()
        except OSError:  # as if nothing had begun: the same command begins it again
            self.folder.run.unlink(missing_ok=True)
            self.folder.config.unlink(missing_ok=True)
            raise

    def resume(self, folder: RunFolder, path: Path) -> None:
        """Take up a run where a checkpoint left it."""
        self.folder = folder
        self._hold()
        noted = self.any_process(folder.run.exists())
        if noted:  # options first: the data may differ only by one that was edited
            folder.check_config(self.config, folder.read_config_began_with())
            check_same_data(folder, self.task)
        checkpoint = find_checkpoint(path)
        self._check_same_step(0 if checkpoint is None else checkpoint.step)
        if checkpoint is not None:
            self._take_up(checkpoint)
        elif self.any_process(folder.has_results):
            raise self._without_checkpoints()
        if self.is_main:
            folder.tidy()
        if not noted:  # killed before its first step, or removed
            self._write_facts()

    def _without_checkpoints(self) -> InputError:
        """What is said in place of training anew over what the run has left."""
        with_weights = ""
        finished = self.folder.result.exists() and self.folder.model.exists()
        if finished and isinstance(self.model, Classifier):
            with_weights = f" (with the weights of this one: --init {self.folder.path})"
        return InputError(
            f"the run {self.folder.path} has trained, but {self.folder.checkpoints} holds no "
            f"checkpoint to go on from: bring them back, or begin a new run in another folder"
            f"{with_weights}"
        )

    def _take_up(self, checkpoint: Checkpoint) -> None:
        """Put back what a checkpoint holds."""
        self.folder.check_config(self.config, checkpoint.counters.get("config", {}))
        try:
            restore(self.model, self.optimizer, checkpoint.tensors)
            sums = RunningMeans(
                self.task.measures, self.device, checkpoint.counters["sums"], checkpoint.step
            )
        except (KeyError, ValueError, RuntimeError) as error:
            raise OtherModel(
                f"{self.folder.checkpoints} holds the checkpoints of another model than the given "
                "one: give the task and the model that the run began with"
            ) from error
        self.step = checkpoint.step
        self.history = checkpoint.counters["history"]
        if self.config.keep == "best":
            check_best(self.folder.checkpoints, self.history, self.task.score or "")
        if not self.is_main:  # they are sums over all processes
            sums.reset()
        self.running_means = sums
        if self.is_main:
            self.seconds = checkpoint.counters["seconds"]

    def release(self) -> None:
        """Let other processes write in the folder, and torch take the threads that it had."""
        self.cores.close()
        if self.lock is not None:
            self.lock.release()

    def _hold(self) -> None:
        """Lock the folder, or raise in all processes."""
        error: list[Any] = [None]
        if self.is_main:
            try:
                self.lock = RunLock(self.folder.path)
            except (InputError, OSError) as refused:
                error = [refused]
        if self.sampler.world > 1:
            broadcast_object_list(error)
        if error[0] is not None:
            raise error[0]

    def _check_same_step(self, step: int) -> None:
        """Raise in all processes where they do not see one folder: each reads its checkpoint."""
        steps = self.accelerator.gather(torch.tensor([step], device=self.device)).tolist()
        if len(set(steps)) > 1:
            raise InputError(
                f"the processes of the run find checkpoints of different steps in "
                f"{self.folder.path} ({', '.join(map(str, steps))}): let all of them see one folder"
            )

    def prepare(self) -> None:
        """Wrap the model for as many processes as there are, once its state is in place."""
        self.update = self._update
        on_one_gpu = self.device.type == "cuda" and self.sampler.world == 1
        if on_one_gpu and not self.callbacks and self.task.repeats(self.model):
            make_capturable(self.optimizer, self.device)
            self.update = CapturedUpdate(self._update, self.device)
        losses = TaskLosses(self.task, self.model, self.precision)
        self.wrapped, self.optimizer = self.accelerator.prepare(losses, self.optimizer)

    def start_clock(self) -> None:
        """Begin to count the seconds of an epoch."""
        self.began = time.perf_counter()

    def do_step(self) -> StepResult:
        """One batch: forward, backward, update. The next step may overwrite the result."""
        config = self.config
        # Dropout too is a function of (seed, step): no state of a generator has to be saved.
        torch.manual_seed(mix_seed("step", config.seed, self.step, self.sampler.rank))
        set_learning_rate(self.optimizer, self.learning_rate(self.step))
        batch = self.task.batch(self.step, self.sampler)
        if self.device.type == "cuda":
            batch = to_pinned_memory(batch)
        result = self.update(batch)
        self.task.after_update(batch, result)
        self.step += 1
        before = time.perf_counter()
        if self.after_step is not None:
            self.after_step(self)
        for callback in self.callbacks:
            callback.on_step(self)
        self.began += time.perf_counter() - before
        return result

    def _update(self, batch: Any) -> StepResult:
        """Forward, backward, the optimiser's step, and what is followed of them."""
        with same_bits():
            result: StepResult = self.wrapped(send_to_device(batch, self.device, non_blocking=True))
            self.running_means.add(result, self.sampler.share_size)  # says what is wrong with it
            self.optimizer.zero_grad()
            self.accelerator.backward(result.loss)
            if self.config.clip is not None:
                self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.clip)
            self.optimizer.step()
        return result.detach()

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0."""
        config = self.config
        return config.learning_rate * rate_factor(
            step,
            self.total_steps,
            schedule=config.schedule,
            warmup_steps=int(config.warmup * self.total_steps),
            final=config.final_learning_rate,
        )

    def close_epoch(self, epoch: int) -> dict[str, Any]:
        """Validate, save, and give the epoch's row of metrics."""
        self._check_finite()
        means, seconds = self._gathered_means(), self._seconds()
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": self.step,
            "learning_rate": self.learning_rate(self.step - 1),
            **means.means(),
            **(self._validate() if self.is_main else {}),
            "seconds": round(seconds, 3),
            f"{self.task.examples}_per_second": round(means.examples / seconds, 1),
        }
        self.history.append(row)
        self._keep_best(epoch)
        self.running_means.reset()
        self.seconds = 0.0
        self.start_clock()
        self.save()
        if self.is_main:
            if self.config.keep == "best":
                drop_earlier(self.folder.checkpoints, self.history, self.task.score or "")
            self.folder.write_metrics(self.history)
        return row

    def stop(self) -> None:
        """End the run after this epoch, as if it had been the last."""
        self.stopping = True

    @property
    def is_over(self) -> bool:
        """Whether no step is left, or none is wanted."""
        if self.step >= self.total_steps:
            return True
        patience, stale = self.config.patience, 0
        if patience is not None and self.is_main:
            stale = len(self.history) - best_epoch(self.history, self.task.score or "")
        return self.any_process(self.stopping or (patience is not None and stale >= patience))

    def take_kept_weights(self) -> str:
        """Give the model the weights that the run keeps; which these are, in words."""
        epochs = len(self.history)
        stopped = "" if self.step >= self.total_steps else ", stopped early"
        if self.config.keep == "last":
            return f"of the last of {epochs} epochs{stopped}"
        score = self.task.score or ""
        best = best_epoch(self.history, score)
        if not best:
            return f"of the last of {epochs} epochs{stopped}, none of which has a {score}"
        load_best(self.folder.checkpoints, self.model, best)
        return f"of epoch {best} of {epochs}{stopped}, the best by {score.replace('_', ' ')}"

    def _keep_best(self, epoch: int) -> None:
        """Write the weights, where they are the best so far and the best are wanted.

        Before the checkpoint: after a kill in between the epoch is done again, and writes the same.
        """
        if self.config.keep == "last" or not self.is_main:
            return
        if best_epoch(self.history, self.task.score or "") == epoch:
            self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
            save_best(self.folder.checkpoints, self.model, epoch)

    @torch.no_grad()
    def _validate(self) -> dict[str, Any]:
        self.model.eval()
        measured = self.task.validate(self.model, self.precision)
        return plain_measures(measured, self.task, self.config)

    def save(self) -> None:
        """Write a checkpoint, unless a number has gone wrong."""
        self._check_finite()
        means = self._gathered_means()
        if self.is_main:
            save_checkpoint(
                self.folder.checkpoints,
                self.step,
                snapshot(self.model, self.optimizer),
                {
                    "history": self.history,
                    "sums": means.values,
                    "seconds": self._seconds(),
                    "config": fixed_options(self.config),
                },
            )

    def _check_finite(self) -> None:
        """Stop before a checkpoint could be written with weights that a NaN has reached."""
        steps = self.accelerator.gather(self.running_means.first_bad_step.reshape(1)).tolist()
        bad = min((step for step in steps if step >= 0), default=None)
        if bad is not None:
            raise self._diverged(f"the loss is not finite at step {bad + 1}")
        # An update may overflow though its loss was finite.
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise self._diverged(f"the weights are not finite after step {self.step}")

    def _diverged(self, what: str) -> RunStopped:
        lower = f"a --learning-rate below {self.config.learning_rate:g} may help"
        if self.folder.has_checkpoints:
            rest = f"its checkpoints are from before; {lower}"
        else:
            rest = f"nothing is saved; {lower}, with another --out or after removing this folder"
        return RunStopped(f"{what}, so the run {self.folder.path} was stopped; {rest}", exit_code=1)

    def any_process(self, flag: bool) -> bool:
        """Whether any process says so: a signal may reach one of them first."""
        if self.sampler.world == 1:
            return flag
        flags = self.accelerator.gather(torch.tensor([flag], device=self.device))
        return bool(flags.any())

    @property
    def how_to_resume(self) -> str:
        """What a person continues the run with."""
        return self.resume_by.format(folder=str(self.folder.path))

    def _gathered_means(self) -> RunningMeans:
        """The means over all processes."""
        total = self.accelerator.reduce(self.running_means.tensor.clone(), reduction="sum")
        return RunningMeans(self.task.measures, self.device, total.tolist())

    def _seconds(self) -> float:
        return self.seconds + time.perf_counter() - self.began

    def _write_facts(self) -> None:
        if self.is_main:
            facts = {
                "notes": NOTES,
                "machine": describe_machine(),
                "seed": self.config.seed,
                "precision": self.precision.name,
                "processes": self.sampler.world,
                "data": data_facts(self.task),
                "config": fixed_options(self.config),
                "working_folder": os.getcwd(),  # from which its paths lead to the data
            }
            if self.config.init is not None and isinstance(self.model, Classifier):
                facts["network"] = settings_of(self.model)
            write_json(self.folder.run, facts)
        self.accelerator.wait_for_everyone()


class OtherModel(InputError):
    """A checkpoint does not fit the model that is to be trained."""


@contextmanager
def same_bits() -> Iterator[None]:
    """cuDNN's convolutions add in the same order each time, as an exact resume needs."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
