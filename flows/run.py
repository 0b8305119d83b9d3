"""One pipeline run: its stages as plain methods. Works without Prefect; flows/pipeline.py gives each method its task."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from components.errors import RunError
from components.files import digest, read_json, write_json
from components.spec.parse import expectation_met, to_plain
from components.spec.schema import Spec
from flows import stages
from flows.account import Account, StageResult
from flows.adapters.dvc_versions import held
from flows.attempts import attempted
from flows.cost.guard import time_limit
from flows.in_use import InUse
from flows.predict import note
from flows.record import dvc_version
from flows.search.best import best_of
from flows.store import Manifest, Partial, Store
from flows.tracking import Tracking, tracking_id
from flows.upstream import NEEDED, checkpoint, complete, finished, job_config
from flows.workers import Workers, start_workers

log = logging.getLogger(__name__)

REPORT_INPUTS = {  # what the report's run/ directory is made of: stage -> files
    "data": ("card.json",),
    "check": ("check.json", "sheet.png"),
    "tune": ("trials.json",),
    "train": ("metrics.jsonl", "summary.json"),
    "evaluate": ("metrics.json", "samples.npz", "gallery.npz"),
}


@dataclass
class PipelineRun:
    """The stages of one specification on one store.

    Attributes:
        root: the project's folder.
        spec: what to run; once a search has ended, with the values that it found.
        overrides: that composed it.
        command: how it was asked for, for the record.
        part_of: the id of the run that this one is a trial of.
        flow_run_id: Prefect's, where it runs as a flow.
        tuned: what the search found, as overrides over the others.
        done: manifests of the finished stages, in order.
    """

    root: Path
    spec: Spec
    overrides: list[str]
    command: str
    store: Store
    announce: Callable[[str], None]  # one line for the person who watches
    follow: Callable[[str, Path], Any]  # (stage, directory) -> context manager that shows its progress
    part_of: str | None = None
    flow_run_id: str | None = None
    tuned: list[str] = field(default_factory=list)
    done: dict[str, Manifest] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    run_id: str = field(init=False)  # the same specification, code and environment give the same id
    _account: Account = field(init=False)
    _workers: Workers | None = None
    _tracking: Tracking = field(init=False)
    _in_use: InUse | None = None

    def __post_init__(self) -> None:
        self.run_id = f"{self.spec.experiment.replace('/', '-')}-{stages.identity(self.spec)}"
        self._account = Account(self)
        self._tracking = Tracking(self.spec, self.directory, self.part_of, self._tracked)

    @property
    def directory(self) -> Path:
        return self.store.root / "runs" / self.run_id

    def __enter__(self) -> PipelineRun:
        if self.spec.tune is not None:
            self._preflight()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None
        if complaint := self._tracking.close():
            self.announce(f"tracking: {complaint}")
        if self._in_use is not None:
            self._in_use.close()
            self._in_use = None

    def use(self, *used: tuple[str, str]) -> None:
        """Say that stages, `(stage, key)`, are used from now on: nobody removes them while this run goes on, if they are there when it looks next."""
        if self._in_use is None:
            self._in_use = InUse(self.store.root, self.run_id, {"command": self.command})
        self._in_use.name(*used)

    def work_with(self, workers: Workers) -> None:
        """Have the jobs done by these workers, which are then this run's to close."""
        self._workers = workers

    def warm(self) -> None:
        """Begin to start the workers, so that they come up while earlier stages run."""
        if self._workers is None:
            self._workers = start_workers(self.spec.cluster, self.store.mailboxes)

    def warm_if_local(self) -> None:
        """As `warm`, on a cluster of our own; on a shared one nobody holds GPUs while data is prepared. A search has a cluster of its own."""
        if self.spec.cluster.backend == "ray" and self.spec.cluster.address is None and self.spec.tune is None:
            self.warm()

    def stage(self, name: str) -> StageResult:
        """Run one stage, or reuse it; the stages before it must be done."""
        if name in ("tune", "train"):
            self.done |= {f"upstream.{key}": manifest for key, manifest in complete(self.root, self.spec, self._train_upstream).items()}
        parts = stages.key_parts(name, self.spec, self.done)
        self.use((name, digest(parts)))
        found = self.store.find(name, parts)
        changes = None if found else stages.compare(name, parts, self.store, self.spec.experiment)
        why = "unchanged" if found else stages.tell(changes)
        started = time.monotonic()
        status = "reused"
        try:
            if found is None:
                self._record("running", {name: StageResult("running", 0.0, "", digest(parts), why, changes or [])})
                with self.store.run(name, parts, self.announce) as partial:
                    if isinstance(partial, Partial):
                        status = "ran"
                        self.announce(f"{name}: {why}")
                        with self._attempted(name, digest(parts), partial.ownership.token), self._holding_data():
                            getattr(self, f"_{name}")(partial)
                    elif partial.source is not None:
                        why = f"taken from {partial.source}"
                found = self.store.find(name, parts)
                if found is None:  # of the data stage, whose files are DVC's
                    raise RunError(f"{name}: somebody replaced its files just now; run the same command again")
        except BaseException as error:
            outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.results[name] = StageResult(outcome, time.monotonic() - started, "", digest(parts), why, changes or [])
            self._record(outcome)
            raise
        self.store.enter(found, experiment=self.spec.experiment, run_id=self.run_id)
        self.store.note_last(name, found.key, self.spec.experiment)
        self.done[name] = found
        if status == "ran":
            with suppress(RunError), self._holding_data():  # a figure for forecasts: no run fails for it
                note(self.store, self.spec, found, self.done["data"])
        self.results[name] = StageResult(status, time.monotonic() - started, str(found.directory), found.key, why, changes or [])
        self.announce(f"{name}: {status} in {self.results[name].seconds:.1f} s")
        if name == "tune":
            self._take_best(found)
        last = name == stages.STAGES[-1]
        if last:
            self._tracking.finish(self.done["train"].key, self.done["train"].directory / "metrics.jsonl", self.metrics, Path(self.report))
        self._record("finished" if last else "running")
        self._push([found], finished=last)
        return self.results[name]

    def reuse_all(self) -> bool:
        """Take every stage from the store; False, and nothing changed, when one of them is missing."""
        upstream = finished(self.root, self.spec, self.store)
        decisions = stages.decide(self.spec, self.store, upstream, lambda manifest: best_of(self.root, self.overrides, manifest))
        found = [*upstream.values(), *(d.manifest for d in decisions if d.manifest is not None)]
        if any(d.manifest is None for d in decisions):
            return False
        self.use(*((m.stage, m.key) for m in found))
        if not all(self.store.holds(m) for m in found):  # removed meanwhile
            return False
        self.done |= {f"upstream.{name}": manifest for name, manifest in upstream.items()}
        for d in decisions:
            assert d.manifest is not None
            self.done[d.stage] = d.manifest
            self.results[d.stage] = StageResult("reused", 0.0, str(d.manifest.directory), d.manifest.key, d.why)
            self.store.enter(d.manifest, experiment=self.spec.experiment, run_id=self.run_id)  # who finished it may have been killed before he could
            self.store.note_last(d.stage, d.manifest.key, self.spec.experiment)
            if d.stage == "tune":
                self._adopt(d.manifest)
        self._record("finished")
        self._push(list(self.done.values()), finished=True)
        self.__exit__(None, None, None)
        return True

    def _push(self, manifests: list[Manifest], *, finished: bool) -> None:
        """Give the remote what it does not have yet."""
        exchange = self.store.exchange
        if exchange is None:
            return
        for manifest in manifests:
            exchange.push(manifest.stage, manifest.key, manifest.source, self.announce)
        if finished:
            exchange.finish(self.directory, self.announce)

    def _train_upstream(self, name: str, spec: Spec) -> Manifest:
        """Get a run that this one builds on trained, by this run's workers."""
        command, overrides = f"upstream {name} of {self.command}", list(self.spec.upstream[name])
        run = PipelineRun(self.root, spec, overrides, command, self.store, self._announce_upstream, self.follow)
        self.warm()
        run._workers = self._workers
        try:
            for stage in NEEDED:
                run.stage(stage)
            self.use(("train", run.done["train"].key))  # before that run lets go of it
            run.end_with_training()
        finally:
            run._workers = None  # they are this run's
            run.__exit__(None, None, None)
        return run.done["train"]

    def end_with_training(self) -> None:
        """Write down that the run ends here: it is another's upstream, or a trial."""
        if "train" in self.done and "evaluate" not in self.done:  # whose figures would end the tracking
            self._tracking.finish(self.done["train"].key, self.done["train"].directory / "metrics.jsonl", {})
        self._record("trained")

    def _announce_upstream(self, line: str) -> None:
        self.announce(f"upstream: {line}")

    def _data(self, partial: Partial) -> None:
        from flows.adapters import dvc

        key = dvc.write_params(self.root, to_plain(self.spec.data))
        parts: dict[str, str] = {}

        def follow(line: str) -> None:
            self._announce_data(line)
            parts.update(filter(None, [dvc.part_told(line)]))

        directory = dvc.prepare(self.root, key, follow)
        partial.files_in = directory
        content_sha256 = read_json(directory / "card.json")["content_sha256"]
        version = {"content_sha256": content_sha256, "dvc": dvc_version(self.root, key)}  # now: dvc.lock may move on while this run goes on
        partial.outputs = {"directory": str(directory), **version, "parts": parts}

    @contextmanager
    def _holding_data(self) -> Iterator[None]:
        """Have what is done meanwhile read this run's version of the data, also where data/prepared has moved on."""
        data = self.done.get("data")
        if data is None:
            yield
            return
        with held(self.root, self.store, data) as self.done["data"]:
            try:
                yield
            finally:
                self.done["data"] = data

    def _announce_data(self, line: str) -> None:
        """Of what DVC prints, people want what our own stages did; the rest goes to the log."""
        if line.startswith(("fetch ", "prepare ", "another ")):
            self.announce(f"data: {line}")
        else:
            log.info("dvc: %s", line)

    def _check(self, partial: Partial) -> None:
        from components.data.checks import check

        check(self.done["data"].directory, self.spec.check, partial.directory)

    def _tune(self, partial: Partial) -> None:
        from flows.search.search import search

        if self._workers is not None:  # they hold what the trials need
            self._workers.close()
            self._workers = None
        partial.outputs = search(self, partial)

    def _preflight(self) -> None:
        from flows.search.preflight import preflight

        preflight(self.root, self.spec, self.overrides, self.announce)

    def _take_best(self, tuned: Manifest) -> None:
        """Go on with what the search found; where that is another version of the data, get it."""
        self._adopt(tuned)
        others = False  # by configuration, not by key: the key of data of one's own would be that of files which may have grown since
        for stage in ("data", "check"):
            others = others or to_plain(stages.configuration(stage, self.spec)) != self.done[stage].parts["config"]
            if others:
                self.stage(stage)

    def _adopt(self, tuned: Manifest) -> None:
        self.spec, self.tuned = best_of(self.root, self.overrides, tuned), list(tuned.outputs["overrides"])
        self._tracking = Tracking(self.spec, self.directory, self.part_of, self._tracked)

    def _train(self, partial: Partial) -> None:
        key = partial.directory.name.removesuffix(".partial")
        self._tracking.begin(key, partial.directory / "metrics.jsonl")
        with self.follow("train", partial.directory):
            until = None if self.part_of is not None else time_limit(self.store, self.run_id, self.spec, self.done["data"], partial.directory)
            self._submit("train", directory=str(partial.directory), origin=self._origin(key), owner=partial.ownership.plain(), until=until)
        summary = read_json(partial.directory / "summary.json")
        meta = read_json(partial.directory / summary["checkpoint"] / "meta.json")
        partial.outputs = {
            "checkpoint": summary["checkpoint"],
            "checkpoint_sha256": meta["files"][meta["weights"]]["sha256"],
            "summary": summary,
        }

    def _origin(self, key: str) -> dict[str, Any]:
        """What a checkpoint's meta.json says about where it comes from."""
        git, code = self._account.code()["git"], stages.code_digest(self.spec)
        return {"run_id": self.run_id, "stage": key, "tracking_id": tracking_id(key), "git": git, "code": code}

    def _tracked(self, key: str) -> dict[str, Any]:
        """What W&B's configuration says of where a training comes from."""
        return {**self._origin(key), "data": self._account.data_version(), "prefect_flow_run_id": self.flow_run_id}

    def _evaluate(self, partial: Partial) -> None:
        self._submit("evaluate", directory=str(partial.directory), checkpoint=self.checkpoint)
        metrics = scalars(read_json(partial.directory / "metrics.json"))
        partial.outputs = {"metrics": metrics}
        if self._workers is not None:
            self._workers.finish()  # they stop while the report is drawn

    def _report(self, partial: Partial) -> None:
        from components.reporting.page import render

        run = partial.directory / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        for stage in self.done.keys() & REPORT_INPUTS.keys():
            for name in REPORT_INPUTS[stage]:
                source = self.done[stage].directory / name
                if source.is_file():
                    shutil.copyfile(source, run / name)
        write_json(run / "run.json", self.told("finished"))
        render(run, partial.directory / "report.html")
        partial.outputs = {"report": "report.html"}

    def _submit(self, job: str, **config: Any) -> None:
        self.warm()
        assert self._workers is not None
        self._workers.submit(job, {**job_config(self.spec, self.done), **config})

    @property
    def checkpoint(self) -> str:
        return checkpoint(self.done["train"])

    @property
    def report(self) -> str:
        manifest = self.done["report"]
        return str(manifest.directory / manifest.outputs["report"])

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        metrics: dict[str, dict[str, float]] = self.done["evaluate"].outputs["metrics"]
        return metrics

    def told(self, status: str) -> dict[str, Any]:
        """Return the run's own account, as the report and run.json hold it."""
        return self._account.tell(status)

    def result(self) -> dict[str, Any]:
        """What `--json` prints of a finished run."""
        return {
            "run_id": self.run_id,
            "stages": {name: {"status": r.status, "seconds": round(r.seconds, 3), "directory": r.directory} for name, r in self.results.items()},
            "metrics": self.metrics,
            "checkpoint": self.checkpoint,
            "report": self.report,
            "expectations": [{**asdict(e), "met": expectation_met(e, self.metrics)} for e in self.spec.expect],
        }

    def _attempted(self, name: str, key: str, token: str) -> AbstractContextManager[None]:
        return attempted(self.directory, name, key, token, self.spec)

    def _record(self, status: str, running: dict[str, StageResult] | None = None) -> None:
        self._account.write_down(status, running)


def scalars(metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the metrics that are single numbers, `{split: {name: value}}`."""
    return {split: {k: v for k, v in found.items() if isinstance(v, (int, float))} for split, found in metrics.items()}
