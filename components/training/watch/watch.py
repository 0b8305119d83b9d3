"""The watch: what the loop calls around a step (docs/architecture.md section 6; notes 002 section 14, D15, D17, D18, D21-D27, D36, D37).

if watch.due(step):
    with watch.forward():                  # forward and backward of all phases' micro-batches
        ...
    watch.gradients(phase, network)        # after clipping, before the update
    optimizer.step()
    watch.updated(phase, network)
    record |= watch.figures()              # fetches everything from the device at once
    events = watch.findings()
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from statistics import median

from torch import Tensor, nn

from components.training.watch.activations import Activations
from components.training.watch.checks import CHECKS
from components.training.watch.finding import Finding
from components.training.watch.history import WINDOW, History
from components.training.watch.look import Look, put_together
from components.training.watch.parameters import Parameters
from components.training.watch.tape import Tape

EARLY_STEPS = 100  # faults show, and NaNs arise, within the first 100 iterations (D27): look at powers of two there


class Watch:
    """Looks at activations, gradients and updates of some steps, on one rank's rows, and says what is wrong.

    It talks to no other rank, draws nothing and changes nothing, so training goes on to the bit as without it. It keeps the looks of this process
    alone: after a resume it starts anew. Beside what hooks hold, a watched step needs memory for a sample of the updated network's weights.

    Args:
        networks: name -> bare module, `Task.split(model)`. What is frozen by now is meant to be.
        every_steps: between looks; 0: never.

    Raises:
        ValueError: `every_steps` is below 0.
    """

    def __init__(self, networks: Mapping[str, nn.Module], every_steps: int) -> None:
        if every_steps < 0:
            raise ValueError(f"every_steps must be 0 (never) or above, received {every_steps}")
        self._networks, self._every_steps = networks, every_steps
        self._tape, self._history = Tape(), History()
        self._activations = Activations(networks, self._tape)
        self._parameters = {name: Parameters(name, network, self._tape) for name, network in networks.items()}
        self._fresh_scales = {layer: scale for p in self._parameters.values() for layer, scale in p.fresh_scales().items()}
        self._looks = 0
        self._adversarial = False
        self._spectra_due = set(networks)  # once an epoch
        self._waiting: list[Finding] = []
        self._reported: set[tuple[str, str]] = set()  # in this epoch

    def due(self, step: int) -> bool:
        """Say whether to look at a step, counted from 0: every `every_steps`-th, and 0, 1, 2, 4 ... 64."""
        if self._every_steps == 0:
            return False
        return step % self._every_steps == 0 or (step < EARLY_STEPS and step & (step - 1) == 0)

    def new_epoch(self) -> None:
        """Let each finding be reported again."""
        self._reported.clear()
        self._spectra_due = set(self._networks)

    def forward(self) -> AbstractContextManager[None]:
        """Measure activations inside. Hooks exist only there."""
        return self._activations.hooked()

    def losses(self, phase: str, terms: Mapping[str, Tensor]) -> None:
        """Note a step's loss terms, scalars as they are added up; one term alone is no matter (D17)."""
        if len(terms) > 1:
            for name, value in terms.items():
                self._tape.write("loss", f"{phase}.{name}", value.detach().abs())

    def scores(self, network_name: str, real: Tensor, fake: Tensor) -> None:
        """Note a discriminator's logits of real and of generated samples, any shapes; from then on the run counts as a GAN's (D37)."""
        self._adversarial = True
        right = (real.detach() > 0).sum() + (fake.detach() <= 0).sum()
        self._tape.write("accuracy", network_name, right / (real.numel() + fake.numel()), weight=real.numel() + fake.numel())

    def gradients(self, phase: str, network_name: str) -> None:
        """Measure a network's gradients, after clipping and before the update, and copy its weights."""
        self._parameters[network_name].before_update()
        if not self._networks[network_name].training:
            text = f"the phase '{phase}' trains a network that is in evaluation mode: dropout is off, running means stand still"
            self._report(Finding("D15", network_name, 0.0, 1.0, text))

    def updated(self, phase: str, network_name: str) -> None:
        """Measure a network's update; once an epoch, a GAN's singular values."""
        self._parameters[network_name].after_update()
        if self._adversarial and network_name in self._spectra_due:
            self._spectra_due.discard(network_name)
            self._parameters[network_name].singular_values()

    def figures(self) -> dict[str, float]:
        """End a look: fetch it, judge it, and return the few numbers that the step's record shows."""
        self._looks += 1
        if self._looks % WINDOW == 0:
            self._activations.close_window()
        look = put_together(self._tape.read(), self._fresh_scales)
        self._history.add(look)
        for check in CHECKS:
            for finding in check(look, self._history):
                self._report(finding)
        return summary(look)

    def findings(self) -> list[Finding]:
        """Return what the looks have found since the last call; a check speaks of a layer once an epoch."""
        found, self._waiting = self._waiting, []
        return found

    def _report(self, finding: Finding) -> None:
        key = (finding.check, finding.layer)
        if key not in self._reported:
            self._reported.add(key)
            self._waiting.append(finding)


def summary(look: Look) -> dict[str, float]:
    """Return a look's figures, the extreme over layers, named `watch/...`; what was not measured is left out."""
    figures: dict[str, float] = {}
    for name, quantity, extreme in (
        ("activation_std_min", "std", min),
        ("activation_std_max", "std", max),
        ("dead_units", "dead", max),
        ("saturated", "saturated", max),
        ("gradient_flow_min", "flow", min),
        ("update_ratio_median", "update_ratio", median),
        ("weight_size_max", "weight_size", max),
        ("bias_max", "bias", max),
        ("loss_share_min", "loss_share", min),
        ("discriminator_accuracy", "accuracy", max),
    ):
        values = list(look[quantity].values())
        if values:
            figures[f"watch/{name}"] = float(extreme(values))
    figures |= {f"watch/gradient_norm/{network}": value for network, value in look["gradient_norm"].items()}
    return figures
