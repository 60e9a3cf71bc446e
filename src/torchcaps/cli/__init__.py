"""The command line: `torchcaps train | eval | predict | info`, one command a file."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

from torchcaps.errors import InputError, RunStopped

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 2 a mistake in the input, 1 and 130 a run that stopped.

    A mistake is answered with one sentence on standard error, never a traceback; a traceback is a
    bug of torchcaps.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        command = parse(arguments)
        command.run()
        sys.stdout.flush()
    except (InputError, RunStopped) as error:
        fail(str(error), getattr(error, "exit_code", 2))
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}: nothing was half-written; see to it and try again")
    except KeyboardInterrupt:
        fail("interrupted; a run that had begun goes on with: torchcaps train --resume FOLDER", 130)
    sys.exit(0)


def parse(arguments: Sequence[str]) -> Any:
    """The command object that the arguments describe."""
    try:
        import tyro
    except ImportError as error:
        raise InputError(
            "the command line needs more packages: pip install 'torchcaps[train]'"
        ) from error
    from torchcaps.cli.eval import Eval
    from torchcaps.cli.info import Info
    from torchcaps.cli.predict import Predict
    from torchcaps.cli.train import Train, train_defaults

    def command(name: str, **kwargs: Any) -> Any:
        return tyro.conf.subcommand(name, prefix_name=False, **kwargs)

    commands = (
        Annotated[Train, command("train", default=train_defaults(arguments))]
        | Annotated[Eval, command("eval")]
        | Annotated[Predict, command("predict")]
        | Annotated[Info, command("info")]
    )
    return tyro.cli(
        commands,
        prog="torchcaps",
        description="Capsule networks that are correct, fast and visible.",
        args=arguments,
    )


def fail(message: str, exit_code: int = 2) -> NoReturn:
    """Print one sentence on standard error and exit."""
    print(f"torchcaps: {message}", file=sys.stderr)
    sys.exit(exit_code)
