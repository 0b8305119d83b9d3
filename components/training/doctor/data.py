"""The data set and its preprocessing: D10 to D13, and what the check stage finds; notes 002 section 14."""

from __future__ import annotations

from components.data.checks import FAULT
from components.training.doctor.finding import Finding, Skipped
from components.training.doctor.patient import Patient, real_inputs

_NUMBERS = {"label balance": "D10", "class coverage": "D11", "normalisation": "D13", "constant images": "D6"}  # of the check stage's names
_SAMPLES_A_CLASS = 1000  # "people say you need 1000 images per class or more"
_ROWS = 512
_LEVEL, _SPREAD = 0.5, (0.5, 2.0)  # of mean and standard deviation
_RAW = 10.0  # a level or spread that only unscaled values have


def check_stage(patient: Patient) -> list[Finding]:
    """D6, D10, D11, D13 and others: each check of the check stage (components/data/checks.py) on this data set, D13 among them:
    the card's statistics are those of the training rows alone."""
    return [
        Finding(
            "ok" if check["passed"] else "fail" if check["severity"] == FAULT else "warn",
            check["detail"],
            "see the group `check` for the limits",
            "mend the source or the reader; where the data are meant to be so, raise the limit under `check`",
            check=_NUMBERS.get(check["name"].partition(" (")[0], "data"),
            name=check["name"],
        )
        for check in patient.checked["checks"]
    ]


def samples_a_class(patient: Patient) -> Finding:
    """D11: a thousand training rows a class, or augmentation or trained weights that make up for them."""
    classes = {name: splits["train"] for name, splits in patient.checked["classes"].items()}
    if "targets" not in classes:
        raise Skipped("the column 'targets' holds no classes")
    fewest = min(classes["targets"])
    helped = bool(patient.spec.augment.train) or patient.spec.resume.checkpoint is not None
    help_found = ", with augmentation or trained weights" if helped else ", without augmentation or trained weights"
    return Finding(
        "ok" if fewest >= _SAMPLES_A_CLASS or helped else "warn",
        f"{fewest:,} training rows in the smallest class" + (help_found if fewest < _SAMPLES_A_CLASS else ""),
        f"{_SAMPLES_A_CLASS:,} a class for training from scratch",
        "use more data, augment.train or a trained checkpoint",
    )


def standardised(patient: Patient) -> Finding:
    """D12: after the `always` transforms inputs have zero mean and unit variance."""
    inputs = real_inputs(patient.batch(patient.rows(_ROWS))).double()
    channels = inputs.reshape(len(inputs), inputs.shape[1] if inputs.ndim > 1 else 1, -1)
    level = float(channels.mean(dim=(0, 2)).abs().max())
    spread = float(channels.var(dim=(0, 2), correction=0).mean().sqrt())
    good = level <= _LEVEL and _SPREAD[0] <= spread <= _SPREAD[1]
    return Finding(
        "ok" if good else "fail" if max(level, spread) > _RAW else "warn",
        f"largest channel mean {level:.3g} in size, standard deviation {spread:.3g}",
        f"mean within {_LEVEL:g} of 0, standard deviation from {_SPREAD[0]:g} to {_SPREAD[1]:g}",
        "add components.data.transforms.Standardize to augment.always",
    )
