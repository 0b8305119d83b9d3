"""The command line. Imports stay inside functions: an unchanged `modelyard run` must answer before torch, Ray or Prefect is imported."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from components.errors import RunError, UserError

_AGAIN_SECONDS = 0.05  # by then the destructor has ended
_EPILOG = """\
examples:
  modelyard list                                          the catalogue, with the best result of each system in this store
  modelyard repeat experiment=graph/gcn_cora --over seed=0..9   ten runs, mean and deviation
  modelyard plan experiment=cnn/lenet5 data=mnist         what would run and why; runs nothing
  modelyard doctor experiment=cnn/lenet5                  the checks before training: does it learn, are data and loss sound
  modelyard find lr                                       the learning rate range test; `find batch`: the batch size
  modelyard run                                           LeNet-5 on scikit-learn's digits, two Ray workers
  modelyard run data=fashion_mnist trainer.duration=5ep   another data set, another length
  modelyard run cluster=inline debug=fast                 a few steps of every stage, in one process
  modelyard run cluster=ray cluster.workers=8             on a running Ray cluster, one GPU a worker

Overrides are Hydra's: group=value chooses a file under conf/, dotted.key=value sets a value.
Exit codes: 0 done, 1 a run or a check failed, 2 the input was wrong, 130 interrupted (the same command continues).
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job inherits it ignored
        signal.signal(number, _interrupt)
    sys.unraisablehook = _press_again
    try:
        result: int = options.command(options)
        return result
    except UserError as error:
        return _fail(options, f"error: {error}", 2)
    except RunError as error:
        return _fail(options, f"failed: {error}", 1)
    except KeyboardInterrupt as error:
        return _fail(options, f"{str(error) or 'interrupted'}: the same command continues where it stopped", 130)


def _fail(options: argparse.Namespace, message: str, code: int) -> int:
    print(message, file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"error": message, "exit_code": code}), flush=True)
    return code


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _press_again(lost: Any) -> None:
    """Repeat a Ctrl-C that came while some object's destructor ran: there Python prints the exception and goes on as if nothing had been pressed."""
    if lost.exc_type is not None and issubclass(lost.exc_type, KeyboardInterrupt):
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelyard",
        description="Take a data version and a configuration to a trained, evaluated and reported model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("run", _run, "run the pipeline: data, check, train, evaluate, report; what is unchanged is reused"),
        ("plan", _plan, "show what would run and why, steps, parameters, learning rates, disk; runs nothing"),
        ("doctor", _doctor, "check a system before it is trained; exit code 1 when a check failed"),
        ("find", _find, "find the learning rate (lr) or the batch size (batch); changes nothing"),
        ("repeat", _repeat, "run once for each value of a key and tell mean and deviation of what was measured"),
        ("list", _list, "the catalogue: what can be trained, from which item, and the best result in this store"),
    ):
        command = commands.add_parser(name, help=text, description=text, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout; everything else goes to stderr")
        if name == "find":
            command.add_argument("what", choices=("lr", "batch"), help="what to find")
        if name == "repeat":
            command.add_argument("--over", required=True, metavar="KEY=VALUES", help="such as seed=0..9 or data.prepare.fold=0,3,5")
        if name != "list":
            command.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="group=value or dotted.key=value")
        command.set_defaults(command=function)
    return parser


def _run(options: argparse.Namespace) -> int:
    from flows.open import open_run
    from flows.progress import terminal

    show = terminal(json=options.json)
    run = open_run(options.overrides, f"modelyard run {shlex.join(options.overrides)}".strip(), show.line, show.follow)
    if not run.reuse_all():
        with run:
            run.warm_if_local()
            _through_prefect(run, options.overrides)
    result = run.result()
    if options.json:
        print(json.dumps(result), flush=True)
    else:
        _print_result(result)
    return 0


def _through_prefect(run: Any, overrides: list[str]) -> None:
    from flows.adapters.prefect import drain, server, set_environment

    set_environment()
    with server() as ready:
        from flows.pipeline import define

        ready()
        try:
            define(run)(overrides=overrides)
        finally:
            drain()


def _print_result(result: dict[str, Any]) -> None:
    print(f"\nrun {result['run_id']}")
    for name, stage in result["stages"].items():
        print(f"  {name:<9} {stage['status']:<7} {stage['seconds']:7.1f} s  {os.path.relpath(stage['directory'])}")
    for split, found in result["metrics"].items():
        print(f"  {split:<11}" + ", ".join(f"{name} {value:.4f}" for name, value in list(found.items())[:6]))
    for e in result["expectations"]:
        bound = f">= {e['minimum']}" if e["minimum"] is not None else f"<= {e['maximum']}"
        print(f"  expected {e['metric']} {bound}: {'met' if e['met'] else 'MISSED'}")
    print(f"  report: {result['report']}")


def _plan(options: argparse.Namespace) -> int:
    from flows.plan import plan, plan_text

    found = plan(options.overrides)
    print(json.dumps(found) if options.json else plan_text(found), flush=True)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from flows.examine import doctor_text, examine
    from flows.progress import terminal

    result = examine("doctor", options.overrides, terminal(json=options.json).line)
    print(json.dumps(result) if options.json else doctor_text(result), flush=True)
    return 1 if result["failed"] else 0


def _find(options: argparse.Namespace) -> int:
    from flows.examine import examine, found_text
    from flows.progress import terminal

    function = {"lr": "find_learning_rate", "batch": "find_batch_size"}[options.what]
    result = examine(function, options.overrides, terminal(json=options.json).line)
    print(json.dumps(result) if options.json else found_text(result), flush=True)
    return 0


def _repeat(options: argparse.Namespace) -> int:
    from flows.progress import terminal
    from flows.repeat import repeat, repeat_text

    result = repeat(options.overrides, options.over, terminal(json=options.json).line)
    print(json.dumps(result) if options.json else repeat_text(result), flush=True)
    return 0


def _list(options: argparse.Namespace) -> int:
    from flows.catalogue import catalogue, catalogue_text

    rows = catalogue()
    print(json.dumps({"experiments": rows}) if options.json else catalogue_text(rows), flush=True)
    return 0


def entry() -> NoReturn:
    """The console script. Ends the process at once: Prefect's threads would wait at exit for a server that is gone (a minute, after Ctrl-C)."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
