"""One pipeline run: its stages as plain methods. Works without Prefect; flows/pipeline.py gives each method its task."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from components.files import atomic_path, digest, read_json, read_object, write_json
from components.spec.parse import expectation_met, to_plain
from components.spec.schema import Spec
from flows import record, stages
from flows.compose import sources
from flows.in_use import InUse
from flows.predict import note
from flows.store import Manifest, Partial, Store
from flows.tracking import Tracking, tracking_id
from flows.upstream import NEEDED, checkpoint, complete, finished
from flows.workers import Workers, start_workers

log = logging.getLogger(__name__)

REPORT_INPUTS = {  # what the report's run/ directory is made of: stage -> files
    "data": ("card.json",),
    "check": ("check.json", "sheet.png"),
    "train": ("metrics.jsonl", "summary.json"),
    "evaluate": ("metrics.json", "samples.npz", "gallery.npz"),
}

# What the ledger repeats of a finished run's account, so that run.json cannot be changed unseen; the stages' keys too.
ENTERED = (
    *("run_id", "experiment", "overrides", "spec_sha256", "conf", "git", "patch_sha256", "environment"),
    *("data", "checkpoint_sha256", "metrics"),
)


@dataclass
class StageResult:
    status: str  # running | ran | reused | failed | interrupted
    seconds: float
    directory: str
    key: str
    why: str
    changes: list[stages.Change] = field(default_factory=list)  # what `why` is told from


@dataclass
class PipelineRun:
    """The stages of one specification on one store.

    Attributes:
        root: the project's folder.
        spec: what to run.
        overrides: that composed it.
        command: how it was asked for, for the record.
        done: manifests of the finished stages, in order.
    """

    root: Path
    spec: Spec
    overrides: list[str]
    command: str
    store: Store
    announce: Callable[[str], None]  # one line for the person who watches
    follow: Callable[[str, Path], Any]  # (stage, directory) -> context manager that shows its progress
    done: dict[str, Manifest] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _checkout: dict[str, Any] = field(default_factory=dict)
    _workers: Workers | None = None
    _tracking: Tracking = field(init=False)
    _in_use: InUse | None = None

    def __post_init__(self) -> None:
        self._tracking = Tracking(self.spec, self.directory, self.run_id)

    @cached_property
    def run_id(self) -> str:
        """The same specification, code and environment give the same id."""
        return f"{self.spec.experiment.replace('/', '-')}-{stages.identity(self.spec)}"

    @property
    def directory(self) -> Path:
        return self.store.root / "runs" / self.run_id

    def __enter__(self) -> PipelineRun:
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

    def warm(self) -> None:
        """Begin to start the workers, so that they come up while earlier stages run."""
        if self._workers is None:
            self._workers = start_workers(self.spec.cluster, self.store.mailboxes)

    def warm_if_local(self) -> None:
        """As `warm`, on a cluster of our own; on a shared one nobody holds GPUs while data is prepared."""
        if self.spec.cluster.backend == "ray" and self.spec.cluster.address is None:
            self.warm()

    def stage(self, name: str) -> StageResult:
        """Run one stage, or reuse it; the stages before it must be done."""
        if name == "train":
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
                        getattr(self, f"_{name}")(partial)
                    elif partial.source is not None:
                        why = f"taken from {partial.source}"
                found = self.store.find(name, parts)
                assert found is not None, f"stage {name} did not commit"
        except BaseException as error:
            outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.results[name] = StageResult(outcome, time.monotonic() - started, "", digest(parts), why, changes or [])
            self._record(outcome)
            raise
        self.store.enter(found, experiment=self.spec.experiment, run_id=self.run_id)
        self.store.note_last(name, found.key, self.spec.experiment)
        self.done[name] = found
        if status == "ran":
            note(self.store, self.spec, found, self.done["data"])
        self.results[name] = StageResult(status, time.monotonic() - started, str(found.directory), found.key, why, changes or [])
        self.announce(f"{name}: {status} in {self.results[name].seconds:.1f} s")
        if name == "evaluate":
            self._tracking.finish(self.done["train"].key, self.done["train"].directory / "metrics.jsonl", self.metrics)
        last = name == stages.STAGES[-1]
        self._record("finished" if last else "running")
        self._push([found], finished=last)
        return self.results[name]

    def reuse_all(self) -> bool:
        """Take every stage from the store; False, and nothing changed, when one of them is missing."""
        upstream = finished(self.root, self.spec, self.store)
        decisions = stages.decide(self.spec, self.store, upstream)
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
            run._record("trained")
        finally:
            run._workers = None  # they are this run's
            run.__exit__(None, None, None)
        return run.done["train"]

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
        partial.outputs = {"directory": str(directory), "content_sha256": content_sha256, "parts": parts}

    def _announce_data(self, line: str) -> None:
        """Of what DVC prints, people want what our own stages did; the rest goes to the log."""
        if line.startswith(("fetch ", "prepare ", "another ")):
            self.announce(f"data: {line}")
        else:
            log.info("dvc: %s", line)

    def _check(self, partial: Partial) -> None:
        from components.data.checks import check

        check(self.done["data"].directory, self.spec.check, partial.directory)

    def _train(self, partial: Partial) -> None:
        key = partial.directory.name.removesuffix(".partial")
        self._tracking.begin(key, partial.directory / "metrics.jsonl")
        with self.follow("train", partial.directory):
            self._submit("train", directory=str(partial.directory), origin=self._origin(key), owner=partial.ownership.plain())
        summary = read_json(partial.directory / "summary.json")
        meta = read_json(partial.directory / summary["checkpoint"] / "meta.json")
        partial.outputs = {
            "checkpoint": summary["checkpoint"],
            "checkpoint_sha256": meta["files"][meta["weights"]]["sha256"],
            "summary": summary,
        }

    def _origin(self, key: str) -> dict[str, Any]:
        """What a checkpoint's meta.json says about where it comes from."""
        git, code = self._code()["git"], stages.code_digest(self.spec)
        return {"run_id": self.run_id, "stage": key, "tracking_id": tracking_id(key), "git": git, "code": code}

    def _evaluate(self, partial: Partial) -> None:
        self._submit("evaluate", directory=str(partial.directory), checkpoint=self.checkpoint)
        metrics = _scalars(read_json(partial.directory / "metrics.json"))
        partial.outputs = {"metrics": metrics}
        if self._workers is not None:
            self._workers.finish()  # they stop while the report is drawn

    def _report(self, partial: Partial) -> None:
        from components.reporting.page import render

        run = partial.directory / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        for stage, names in REPORT_INPUTS.items():
            for name in names:
                source = self.done[stage].directory / name
                if source.is_file():
                    shutil.copyfile(source, run / name)
        write_json(run / "run.json", self.account("finished"))
        render(run, partial.directory / "report.html")
        partial.outputs = {"report": "report.html"}

    def _submit(self, job: str, **config: Any) -> None:
        self.warm()
        assert self._workers is not None
        upstream = {name: checkpoint(self.done[f"upstream.{name}"]) for name in self.spec.upstream}
        self._workers.submit(job, {"spec": to_plain(self.spec), "data": str(self.done["data"].directory), "upstream": upstream, **config})

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

    def account(self, status: str) -> dict[str, Any]:
        """The run's own account, as the report and `run.json` hold it. A stage that an earlier attempt ran is told as that attempt told it."""
        before = self._told().get("stages", {})
        told = {name: asdict(r) for name, r in self.results.items()}
        for name, result in told.items():
            del result["directory"], result["changes"]
            if result["status"] == "reused" and before.get(name, {}).get("key") == result["key"] and before[name]["status"] == "ran":
                told[name] = before[name]
        return {
            "run_id": self.run_id,
            "experiment": self.spec.experiment,
            "status": status,
            "command": self.command,
            "overrides": self.overrides,
            "started": self.started,
            **self._code(),
            "environment": {**stages.environment(), **record.versions()},
            "machine": record.machine(),
            "spec": to_plain(self.spec),
            "spec_sha256": digest(to_plain(self.spec), length=64),
            "data": self._data_version(),
            "checkpoint_sha256": self.done["train"].outputs["checkpoint_sha256"] if "train" in self.done else None,
            "metrics": self.metrics if "evaluate" in self.done else {},
            "stages": told,
            "upstream": {name: self.done[f"upstream.{name}"].key for name in self.spec.upstream if f"upstream.{name}" in self.done},
        }

    def _data_version(self) -> dict[str, Any] | None:
        if "data" not in self.done:
            return None
        outputs = self.done["data"].outputs
        key = Path(outputs["directory"]).name
        return {"name": self.spec.data.name, "key": key, "content_sha256": outputs["content_sha256"], "dvc": record.dvc_version(self.root, key)}

    def _told(self) -> dict[str, Any]:
        """What run.json says so far."""
        return read_object(self.directory / "run.json")

    def _record(self, status: str, running: dict[str, StageResult] | None = None) -> None:
        """Write down how far the run is; when it has finished, for good: a patch of the code that no commit holds, and an entry in the ledger.

        Args:
            status: running, finished, failed, interrupted, or trained (a run that another builds on ends there).
            running: the stage that is about to run.
        """
        self._note_decisions(running or {})
        keys = {name: result.key for name, result in self.results.items()}
        before = self._told()
        reused = running is None and all(result.status == "reused" for result in self.results.values())
        known = {name: told["key"] for name, told in before.get("stages", {}).items()}
        finished = before.get("status") == "finished" and reused and keys.items() <= known.items()
        account = before if finished else self.account(status)
        if not finished:
            self.store.write(self.directory / "run.json", account)
        if account["status"] == "finished":  # written down before, perhaps by an attempt that was killed before it could enter it
            self.store.enter_run(self.directory, {name: account.get(name) for name in ENTERED} | {"stages": known if finished else keys})

    def _code(self) -> dict[str, Any]:
        """The checkout's state and the configuration's files, looked at once; what no commit holds is kept beside run.json."""
        if not self._checkout:
            git, patch = record.git_state(self.root), None
            if git["dirty"]:
                changes = record.uncommitted(self.root)
                patch = record.sha256(changes)
                with atomic_path(self.directory / "uncommitted.patch") as path:
                    path.write_bytes(changes)
            conf = record.file_hashes(self.root, sources(self.root, self.overrides))
            self._checkout = {"git": git, "patch_sha256": patch, "conf": conf}
        return self._checkout

    def _note_decisions(self, running: dict[str, StageResult]) -> None:
        """Write down what was decided in this attempt, for `modelyard why`."""
        decisions = {name: {k: v for k, v in asdict(r).items() if k != "directory"} for name, r in {**self.results, **running}.items()}
        self.store.write(self.directory / "decisions.json", {"command": self.command, "started": self.started, "stages": decisions})
        self.store.write(self.store.root / "last" / "run.json", {"run_id": self.run_id})


def _scalars(metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {split: {k: v for k, v in found.items() if isinstance(v, (int, float))} for split, found in metrics.items()}
