"""The command line: `torchcaps train | eval | predict | explore | …`: a file each."""

import atexit
import difflib
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

from torchcaps import __version__
from torchcaps.cli.parsing import in_one_sentence
from torchcaps.cli.paths import expand_paths
from torchcaps.cli.streams import one_line, safe_streams
from torchcaps.cpu_threads import wait_briefly
from torchcaps.errors import InputError, RunStopped, SomeFailed

__all__ = ["exit_after", "main"]

COMMANDS = ("train", "eval", "predict", "explore", "export", "info", "bench", "reproduce")
LONG = re.compile(r"\S{1000,}")  # no path of a system is so long that a person uses
NARROWEST = 20  # characters of a line: with fewer than ten tyro breaks the lines of --help for ever


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the arguments name, and exit as `exit_after` does."""
    wait_briefly()
    if "matplotlib" not in sys.modules:
        os.environ["MPLBACKEND"] = "agg"  # pictures are files, whatever the shell says of windows
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        exit_after(lambda: run(words), keep_going=words[:1] == ["train"])
    except SystemExit as stopped:
        if is_one_of_several():
            exit_without_threads(stopped)
        raise


def run(arguments: Sequence[str]) -> None:
    """Run the command that the arguments name."""
    check_none_empty(arguments)
    check_no_nul(arguments)
    if arguments[:1] != ["train"] and is_other_process():
        return  # the first one answers for all
    if arguments[:1] == ["--version"]:
        print(f"torchcaps {__version__}")
        return
    command = parse(arguments)
    expand_paths(command)
    try:
        command.run()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"there is too little memory for this: {memory_advice(command)}"
        ) from error


def exit_after(
    command: Callable[[], None], program: str = "torchcaps", *, keep_going: bool = False
) -> NoReturn:
    """Run a command and exit: 0 done, 2 a mistake in the input, 1 and 130 a run that stopped.

    A mistake is answered with one sentence on standard error, never a traceback; a traceback is a
    bug of torchcaps.

    Args:
        command: what is run.
        program: whose name the sentence begins with.
        keep_going: the command goes on where what it prints cannot be printed: hours of work are
            not lost for a display.
    """
    # What Pillow has to say of a damaged image is said by the sentence that names the file.
    warnings.filterwarnings("ignore", module="PIL")
    with safe_streams(keep_going):
        exit_with_code(command, program)


def exit_with_code(command: Callable[[], None], program: str) -> NoReturn:
    """What `exit_after` does, where the streams are safe."""
    try:
        command()
        sys.stdout.flush()
    except (InputError, RunStopped, SomeFailed) as error:
        fail(str(error), getattr(error, "exit_code", 2), program)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        what = f"{where}{error.strerror or error}"
        fail(f"{what}: nothing was half-written; see to it and try again", program=program)
    except UnicodeEncodeError as error:  # from JSON, which has characters that no name can have
        fail(f"{error.object!a} holds a character that no name of a file can have", 2, program)
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


def check_none_empty(arguments: Sequence[str]) -> None:
    """Raise for an empty argument: as a path it would be the current folder."""
    for before, argument in zip(["", *arguments], arguments):
        name, equals, value = argument.partition("=")
        if argument and not (name.startswith("--") and equals and not value):
            continue
        what = name or (before if before.startswith("--") else "an argument")
        raise InputError(f"{what} is empty: give it a value, or leave it out")


def check_no_nul(arguments: Sequence[str]) -> None:
    """Raise for a NUL, which no shell passes on and a program may."""
    for argument in arguments:
        if "\0" in argument:
            raise InputError(f"{argument!a} holds a character that no name of a file can have")


def is_other_process() -> bool:
    """Whether torchrun has started this process, and it is not the first."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"


def is_one_of_several() -> bool:
    """Whether this process has been connected with others, for a distributed run."""
    if "torch" not in sys.modules:
        return False
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def exit_without_threads(stopped: SystemExit) -> NoReturn:
    """Exit with this code, and leave torch's threads to the system.

    They hold the connections. Where Python takes them down one may end the process first, which
    then counts as crashed (code -6), though the run is done.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(stopped.code if isinstance(stopped.code, int) else 1)


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
    from torchcaps.cli.stray_words import check_options, explain
    from torchcaps.cli.train import Train, train_defaults

    classes = (Train, Eval, Predict, Explore, Export, Info, Bench, Reproduce)
    first = arguments[0] if arguments else ""
    asked = dict(zip(COMMANDS, classes, strict=True)).get(first)
    if asked is None and first and not first.startswith("-"):
        near = difflib.get_close_matches(first, COMMANDS, n=1)
        raise InputError(
            f"there is no command {first!r}{f' (perhaps you meant {near[0]})' if near else ''}; "
            f"expected {', '.join(COMMANDS)}; see torchcaps --help"
        )
    if asked is not None:
        check_options(asked, first, arguments[1:])

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
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    program = "torchcaps"
    return in_one_sentence(
        lambda: tyro.cli(
            commands,
            prog=program,
            description="Capsule networks that are correct, fast and visible. "
            "`torchcaps --version` prints the version.",
            args=arguments,
        ),
        program if asked is None else f"{program} {first}",
        lambda: "" if asked is None else explain(asked, first, arguments[1:]),
    )


def memory_advice(command: Any) -> str:
    """What a person can do, by the options that a command has and where they stand."""
    options = []
    if getattr(command, "batch_size", 1) != 1:
        options.append("--batch-size")
    if hasattr(command, "image_size"):
        options.append("--image-size")
    if getattr(command, "model_options", None):
        options.append("network in --model-options")
    if not options:
        return "use a machine with more, or a network for smaller images"
    begin = "begin a new run with" if getattr(command, "resume", None) else "take"
    return f"{begin} a smaller {' or '.join(options)}"


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
    print(f"{program}: {LONG.sub(shortened, one_line(message))}", file=sys.stderr)
    sys.exit(exit_code)


def shortened(word: re.Match[str]) -> str:
    """Of a value of thousands of letters the ends, by which it is known again."""
    letters = word[0]
    return f"{letters[:200]} … {len(letters) - 300:,} letters … {letters[-100:]}"
