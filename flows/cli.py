"""The command line: one parser for all commands (flows/commands), and what becomes of their errors and of Ctrl-C."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from components.errors import RunError, UserError

COMMANDS = (
    *("run", "tune", "plan", "why", "doctor", "find", "repeat", "list", "runs", "cost", "sync"),
    *("models", "promote", "rollback", "nightly", "drift", "gc", "trace", "impact", "verify", "reproduce"),
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 0.05  # by then the destructor has ended
_CONTINUES = ": the same command continues where it stopped"
_EPILOG = """\
examples:
  modelyard list                                          the catalogue, with the best result of each system in this store
  modelyard repeat experiment=graph/gcn_cora --over seed=0..9   ten runs, mean and deviation
  modelyard plan experiment=cnn/lenet5 data=mnist         what would run and why; runs nothing
  modelyard why train                                     what the last run decided about a stage, and every change behind it
  modelyard runs compare cnn-lenet5-1a cnn-lenet5-9c      configuration and metrics side by side; `runs list` has them all
  modelyard cost                                          what the last run has cost; --since 24h: every run of a night
  modelyard gc                                            what the store could be without; --yes frees it
  modelyard doctor                                        is this machine sound: versions, ports, folders, clock, what killed runs left
  modelyard doctor experiment=cnn/lenet5                  the checks before training: does it learn, are data and loss sound
  modelyard find lr                                       the learning rate range test; `find batch`: the batch size
  modelyard run                                           LeNet-5 on scikit-learn's digits, two Ray workers
  modelyard run data=fashion_mnist trainer.duration=5ep   another data set, another length
  modelyard run cluster=inline debug=fast                 a few steps of every stage, in one process
  modelyard run cluster=ray cluster.workers=8             on a running Ray cluster, one GPU a worker
  modelyard tune tune=asha --save tuned/lenet5            search conf/tune's space; `run ... tune=asha` trains what it finds
  modelyard trace store/stages/train/KEY/checkpoints/best   where a checkpoint comes from, each link verified
  modelyard impact conf/optimizer/adamw.yaml              which runs depend on a file or on data
  modelyard verify                                        was anything in the store changed
  modelyard sync                                          give W&B what was tracked while it was away; --dry-run says what that is
  modelyard reproduce cnn-lenet5-1a2b                     the same run again, elsewhere; the figures side by side

Overrides are Hydra's: group=value chooses a file under conf/, dotted.key=value sets a value.
Exit codes: 0 done, 1 a run or a check failed, 2 the input was wrong, 130 interrupted (the same command continues).
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    pressed = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        pressed.set()
        raise KeyboardInterrupt

    for number in _SIGNALS:  # SIGINT too: a shell's background job inherits it ignored
        signal.signal(number, interrupt)
    sys.unraisablehook = _press_again
    try:
        result: int = options.command(options)
        _hear_nothing()
        return result
    except KeyboardInterrupt as error:
        _hear_nothing()
        return _fail(options, f"{str(error) or 'interrupted'}{_CONTINUES}", 130)
    except Exception as error:
        if pressed.is_set():  # what an interrupt became in the code that it fell into, such as the RuntimeError of a __set_name__
            return _fail(options, f"interrupted{_CONTINUES}", 130)
        if isinstance(error, UserError):
            return _fail(options, f"error: {error}", 2)
        if isinstance(error, RunError):
            return _fail(options, f"failed: {error}", 1)
        raise


def _hear_nothing() -> None:
    """The command has ended: a Ctrl-C that comes now would only make a traceback of its last line."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _fail(options: argparse.Namespace, message: str, code: int) -> int:
    print(message, file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"error": message, "exit_code": code}), flush=True)
    return code


def _press_again(lost: Any) -> None:
    """Repeat a Ctrl-C that came while some object's destructor ran: there Python prints the exception and goes on as if nothing had been pressed."""
    if lost.exc_type is not None and issubclass(lost.exc_type, KeyboardInterrupt):
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _parser() -> argparse.ArgumentParser:
    shape: Any = {"epilog": _EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
    about = "Take a data version and a configuration to a trained, evaluated and reported model."
    parser = argparse.ArgumentParser(prog="modelyard", description=about, **shape)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"flows.commands.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP, **shape)
        command.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout; everything else goes to stderr")
        if hasattr(module, "arguments"):
            module.arguments(command)
        command.set_defaults(command=module.execute)
    return parser


def entry() -> NoReturn:
    """The console script. Ends the process at once: Prefect's threads would wait at exit for a server that is gone (a minute, after Ctrl-C)."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
