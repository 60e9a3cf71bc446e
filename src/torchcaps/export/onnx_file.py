"""ONNX files: written by PyTorch's exporter, run by onnxruntime."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from torchcaps.errors import InputError

__all__ = ["read_onnx", "write_onnx"]

MOST_BYTES = 1400 << 20  # of weights: above 1.5 GiB PyTorch puts them into a second file


def write_onnx(
    program: torch.export.ExportedProgram, path: Path, metadata: Mapping[str, str]
) -> None:
    """Write a program of `export_program` with these texts as its metadata."""
    check_packages()
    held = [*program.state_dict.values(), *program.constants.values()]
    size = sum(tensor.nbytes for tensor in held if isinstance(tensor, Tensor))
    if size > MOST_BYTES:
        raise InputError(
            f"{path} would hold {size / 2**30:.2f} GiB of weights; expected at most "
            f"{MOST_BYTES / 2**30:.2f} GiB in a file of ONNX: export it to pt2"
        )
    try:
        with quiet():
            written = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=output_names(program),
                dynamic_shapes={"images": {0: "batch"}},
            )
    except torch.onnx.OnnxExporterError as error:
        raise InputError(
            f"ONNX cannot hold this network ({reason(error)}): export it to pt2"
        ) from error
    assert written is not None
    for node in written.model.graph:
        node.metadata_props.clear()  # how PyTorch came by it, with paths of this machine
    written.model.metadata_props.update(metadata)
    written.save(path)


def read_onnx(path: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function that runs a file on images `[B, C, H, W]`, by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        found = session.run(names, {"images": images.numpy()})
        return {name: torch.from_numpy(array) for name, array in zip(names, found)}

    return run


def reason(error: BaseException) -> str:
    """The first line of what an error came from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def output_names(program: torch.export.ExportedProgram) -> list[str]:
    """The keys of the dict that a program of `export_program` returns, in its order."""
    spec = program.call_spec.out_spec
    assert spec is not None
    return list(spec.context)


def check_packages() -> None:
    """Raise, naming the extra, unless what ONNX needs is installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"ONNX needs the package {error.name}: pip install 'torchcaps[onnx]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of PyTorch's exporter on packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
