"""The command line: `torchcaps train | eval | predict | explore | …`: a file each."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

from torchcaps import __version__
from torchcaps.errors import InputError, RunStopped

__all__ = ["exit_after", "main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the arguments name, and exit as `exit_after` does."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    exit_after(lambda: run(words))


def run(arguments: Sequence[str]) -> None:
    """Run the command that the arguments name."""
    if arguments[:1] == ["--version"]:
        print(f"torchcaps {__version__}")
    else:
        parse(arguments).run()


def exit_after(command: Callable[[], None], program: str = "torchcaps") -> NoReturn:
    """Run a command and exit: 0 done, 2 a mistake in the input, 1 and 130 a run that stopped.

    A mistake is answered with one sentence on standard error, never a traceback; a traceback is a
    bug of torchcaps.

    Args:
        command: what is run.
        program: whose name the sentence begins with.
    """
    try:
        command()
        sys.stdout.flush()
    except (InputError, RunStopped) as error:
        fail(str(error), getattr(error, "exit_code", 2), program)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        what = f"{where}{error.strerror or error}"
        fail(f"{what}: nothing was half-written; see to it and try again", program=program)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        fail(
            "there is too little memory for this: take a smaller --batch-size or --image-size",
            program=program,
        )
    except KeyboardInterrupt:
        fail("interrupted", 130, program)
    sys.exit(0)


def parse(arguments: Sequence[str]) -> Any:
    """The command object that the arguments describe."""
    if arguments[:1] == ["reproduce"] and not {"-h", "--help"} & set(arguments):
        from torchcaps.cli.reproduce import Reproduce

        return Reproduce()  # whatever options it is given: it had some
    try:
        import tyro
    except ImportError as error:
        raise InputError(
            "the command line needs more packages: pip install 'torchcaps[train]'"
        ) from error
    from torchcaps.cli.bench import Bench
    from torchcaps.cli.eval import Eval
    from torchcaps.cli.explore import Explore
    from torchcaps.cli.export import Export
    from torchcaps.cli.info import Info
    from torchcaps.cli.predict import Predict
    from torchcaps.cli.reproduce import Reproduce
    from torchcaps.cli.train import Train, train_defaults

    def command(name: str, **kwargs: Any) -> Any:
        return tyro.conf.subcommand(name, prefix_name=False, **kwargs)

    commands = (
        Annotated[Train, command("train", default=train_defaults(arguments))]
        | Annotated[Eval, command("eval")]
        | Annotated[Predict, command("predict")]
        | Annotated[Explore, command("explore")]
        | Annotated[Export, command("export")]
        | Annotated[Info, command("info")]
        | Annotated[Bench, command("bench")]
        | Annotated[Reproduce, command("reproduce")]
    )
    return tyro.cli(
        commands,
        prog="torchcaps",
        description="Capsule networks that are correct, fast and visible. "
        "`torchcaps --version` prints the version.",
        args=arguments,
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, CUDA or torch's CPU allocator says so."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, told without importing torch
        or "can't allocate memory" in str(error)
    )


def fail(message: str, exit_code: int = 2, program: str = "torchcaps") -> NoReturn:
    """Print one sentence on standard error and exit."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # Under torchrun all processes fail alike. The first one speaks for them, and with its end
        # torchrun ends the others; one that fails alone is heard after this.
        time.sleep(5)
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(exit_code)
