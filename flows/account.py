"""What a run tells of itself: run.json, its decisions, what no commit holds of its code, and its entry in the ledger."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from components.files import atomic_path, digest, read_object
from components.spec.parse import to_plain
from flows import record, stages
from flows.adapters.dvc_versions import named_data
from flows.compose import sources

if TYPE_CHECKING:
    from flows.run import PipelineRun

# What the ledger repeats of a finished run's account, so that run.json cannot be changed unseen; the stages' keys too.
ENTERED = (
    *("run_id", "experiment", "overrides", "spec_sha256", "conf", "git", "patch_sha256", "environment"),
    *("data", "checkpoint_sha256", "metrics"),
)


@dataclass
class StageResult:
    """What became of a stage in this attempt."""

    status: str  # running | ran | reused | failed | interrupted
    seconds: float
    directory: str
    key: str
    why: str
    changes: list[stages.Change] = field(default_factory=list)  # what `why` is told from


class Account:
    """The account of one run, which grows with it.

    Args:
        run: the run.
    """

    def __init__(self, run: PipelineRun) -> None:
        self._run = run
        self._checkout: dict[str, Any] = {}
        self._earlier: dict[str, Any] | None = None  # the stages, as the attempts before this one told them

    def tell(self, status: str) -> dict[str, Any]:
        """The run's own account, as the report and `run.json` hold it. A stage that an earlier attempt ran is told as that attempt told it."""
        run = self._run
        if self._earlier is None:
            self._earlier = self._told().get("stages", {})
        before = self._earlier
        told = {name: asdict(r) for name, r in run.results.items()}
        for name, result in told.items():
            del result["directory"], result["changes"]
            if result["status"] == "reused" and before.get(name, {}).get("key") == result["key"] and before[name]["status"] == "ran":
                told[name] = before[name]
        return {
            "run_id": run.run_id,
            "experiment": run.spec.experiment,
            "status": status,
            "command": run.command,
            "overrides": run.overrides,
            "tuned": run.tuned,
            "part_of": run.part_of,
            "started": run.started,
            **self.code(),
            "environment": {**stages.environment(), **record.versions()},
            "machine": record.machine(),
            "spec": to_plain(run.spec),
            "spec_sha256": digest(to_plain(run.spec), length=64),
            "data": self.data_version(),
            "checkpoint_sha256": run.done["train"].outputs["checkpoint_sha256"] if "train" in run.done else None,
            "metrics": run.metrics if "evaluate" in run.done else {},
            "stages": told,
            "upstream": {name: run.done[f"upstream.{name}"].key for name in run.spec.upstream if f"upstream.{name}" in run.done},
        }

    def write_down(self, status: str, running: dict[str, StageResult] | None = None) -> None:
        """Write down how far the run is; when it has finished, for good: a patch of the code that no commit holds, and an entry in the ledger.

        Args:
            status: running, finished, failed, interrupted, or trained (a run that another builds on ends there).
            running: the stage that is about to run.
        """
        run = self._run
        self._note_decisions(running or {})
        keys = {name: result.key for name, result in run.results.items()}
        before = self._told()
        reused = running is None and all(result.status == "reused" for result in run.results.values())
        known = {name: told["key"] for name, told in before.get("stages", {}).items()}
        finished = before.get("status") == "finished" and reused and keys.items() <= known.items()
        account = before if finished else self.tell(status)
        if not finished:
            run.store.write(run.directory / "run.json", account)
        if account["status"] == "finished":  # written down before, perhaps by an attempt that was killed before it could enter it
            run.store.enter_run(run.directory, {name: account.get(name) for name in ENTERED} | {"stages": known if finished else keys})

    def code(self) -> dict[str, Any]:
        """The checkout's state and the configuration's files, looked at once; what no commit holds is kept beside run.json."""
        run = self._run
        if not self._checkout:
            git, patch = record.git_state(run.root), None
            if git["dirty"]:
                changes = record.uncommitted(run.root)
                patch = record.sha256(changes)
                with atomic_path(run.directory / "uncommitted.patch") as path:
                    path.write_bytes(changes)
            conf = record.file_hashes(run.root, sources(run.root, run.overrides))
            self._checkout = {"git": git, "patch_sha256": patch, "conf": conf}
        return self._checkout

    def data_version(self) -> dict[str, Any] | None:
        """Which data the run is of: by the store's content hash and by DVC's checksums; None before its data stage is done."""
        run = self._run
        if "data" not in run.done:
            return None
        return {"name": run.spec.data.name, **named_data(run.root, run.done["data"])}

    def _told(self) -> dict[str, Any]:
        """What run.json says so far."""
        return read_object(self._run.directory / "run.json")

    def _note_decisions(self, running: dict[str, StageResult]) -> None:
        """Write down what was decided in this attempt, for `modelyard why`."""
        run = self._run
        decisions = {name: {k: v for k, v in asdict(r).items() if k != "directory"} for name, r in {**run.results, **running}.items()}
        run.store.write(run.directory / "decisions.json", {"command": run.command, "started": run.started, "stages": decisions})
        if run.part_of is None:
            run.store.write(run.store.root / "last" / "run.json", {"run_id": run.run_id})
