"""An ensemble's members, trained one after another as if each were alone (notes 002 M70, section 5.7; 004 M48)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.data.permutation import with_replacement
from components.models.ensemble import Ensemble, member_target
from components.spec.schema import Spec, Target
from components.training.checkpoint import Checkpoints, load_weights, verify
from components.training.gradient import fit
from components.training.procedure import Procedure, Work
from components.training.session import gather

_MEMBER_TASK = Target("components.tasks.classification.Classification")


@dataclass(frozen=True)
class Members(Procedure):
    """Trains member i with the seed `spec.seed + i` in `members/i/`, and gives its best checkpoint's weights to the ensemble.

    Everything else is the specification's: so member 0 is what the member's model, trained by itself with the same seed, would be. With
    `trainer.order=resampled` each member has a bootstrap replicate of its own (bagging). Called again, it takes up finished members as they
    are and goes on with the one that was interrupted.
    """

    def fit(self, work: Work) -> None:
        """Fill a components.models.ensemble.Ensemble."""
        assert isinstance(work.model, Ensemble), type(work.model)
        for i, network in enumerate(work.model.members):
            spec = member_spec(work.spec, i)
            directory = work.place.directory / "members" / str(i)
            summary, _ = fit(spec, replace(work.place, directory=directory))
            gather(work.place.session, None)  # rank 0 has written its last checkpoint
            checkpoint = _best(directory)
            load_weights(checkpoint, network, verify(checkpoint)["weights"])
            work.model.missed[i] = _missed(spec, work.training.rows)
            work.log(**_figures(i, summary))


def member_spec(spec: Spec, number: int) -> Spec:
    """Return the specification that one member is trained by: an ensemble's, with the member's model and a seed of its own."""
    return replace(spec, model=member_target(spec.model.options["member"]), task=_MEMBER_TASK, procedure=None, seed=spec.seed + number)


def _best(directory: Path) -> Path:
    best = Checkpoints(directory / "checkpoints").path("best")
    assert best is not None
    return best


def _missed(spec: Spec, rows: int) -> float:
    """The part of the training rows that a member's training never takes."""
    return 1.0 - len(np.unique(with_replacement(rows, spec.seed))) / rows if spec.trainer.order == "resampled" else 0.0


def _figures(number: int, summary: dict[str, Any]) -> dict[str, float]:
    return {"member": float(number), "best": float(summary["best"]["value"]), "member_seconds": float(summary["seconds"]["total"])}
