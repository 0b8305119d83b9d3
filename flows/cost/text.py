"""A run's cost, and a night's, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flows.attempts import Kind
from flows.cost.cost import Cost, Money, Speed
from flows.cost.night import NightCost
from flows.units import spell_seconds

_KINDS: tuple[Kind, ...] = ("gpu", "cpu")


def plain_cost(cost: Cost) -> dict[str, Any]:
    """Return a run's cost as plain data, with the totals."""
    return {**asdict(cost), **_totals(cost), "stopped_device_seconds": cost.stopped_device_seconds, "untold": cost.untold}


def plain_night(found: NightCost) -> dict[str, Any]:
    """Return a night's cost as plain data: `since`, `runs`, the totals and `money`."""
    return {"since": found.since, "runs": [plain_cost(row) for row in found.rows], **_totals(found), "money": asdict(found.money)}


def _totals(found: Cost | NightCost) -> dict[str, float]:
    held = {f"{kind}_seconds": found.device_seconds(kind) for kind in _KINDS}
    return {**held, **{f"wasted_{kind}_seconds": found.wasted_device_seconds(kind) for kind in _KINDS}}


def cost_text(cost: Cost) -> str:
    """One run for people."""
    lines = [f"run {cost.run_id}: {cost.status}", "", "  stage       attempts          held  device-seconds      wasted"]
    for s in cost.stages:
        unit = f"{s.kind.upper()}-s"
        lines.append(f"  {s.stage:<10}{s.attempts:>10}{spell_seconds(s.seconds):>14}{s.device_seconds:>10.1f} {unit}{s.wasted_device_seconds:>12.1f}")
    for t in cost.trials:
        lines.append(f"    {t.name[-16:]:<16} {t.status:<9} {spell_seconds(t.seconds):>12}{t.device_seconds:>10.1f}{t.wasted_device_seconds:>18.1f}")
    lines += ["", f"  in all      {_held(cost)}"]
    if cost.stopped_device_seconds:
        lines.append(f"  stopped     {cost.stopped_device_seconds:.1f} device-seconds of trials that were not worth their end (no waste)")
    if lost := sum(s.lost_steps for s in cost.stages):
        lines.append(f"  made again  {lost} steps, as far as they were journalled")
    if cost.untold:
        lines.append(f"  not counted {cost.untold} attempt{'s' * (cost.untold > 1)} that died without a word")
    lines += [f"  money       {_money(cost.money)}", *_speed(cost.speed)]
    return "\n".join(lines)


def night_text(found: NightCost) -> str:
    """A night for people."""
    if not found.rows:
        return f"since {found.since}: nothing ran"
    width = max(len(row.run_id) for row in found.rows)
    lines = [f"since {found.since}:", ""]
    lines += [f"  {row.run_id:<{width}}  {row.status:<11}  {_held(row)}; {_money(row.money)}" for row in found.rows]
    return "\n".join([*lines, "", f"  {'in all':<{width}}  {len(found.rows):>4} runs    {_held(found)}; {_money(found.money)}"])


def _held(found: Cost | NightCost) -> str:
    parts = []
    for kind in _KINDS:
        held, wasted = found.device_seconds(kind), found.wasted_device_seconds(kind)
        if held:
            parts.append(f"{held:.1f} {kind.upper()}-seconds ({held / 3600:.3g} h), {wasted:.1f} of them wasted ({wasted / held:.0%})")
    return "; ".join(parts) or "nothing"


def _money(money: Money) -> str:
    if money.amount is None:
        return f"unknown: {money.why}"
    note = f" ({money.why})" if money.why else ""
    return f"{money.amount:.3g} {money.currency or ''}".rstrip() + f", {money.wasted:.3g} of it wasted{note}"


def _speed(speed: Speed) -> list[str]:
    lines = []
    if speed.samples_per_second is not None:
        lines.append(f"  throughput  {speed.samples_per_second:.4g} samples/s on {speed.device or 'an unknown device'}")
    shares = {"waiting for data": speed.data_wait_share, "for checkpoints": speed.checkpoint_share}
    if told := [f"{name} {share:.1%}" for name, share in shares.items() if share is not None]:
        lines.append(f"  of training {', '.join(told)}")
    if speed.scaling is not None:
        of_it = "" if speed.scaling.efficiency is None else f"{speed.scaling.efficiency:.0%}: "
        lines.append(f"  scaling     {of_it}{speed.scaling.why}")
    if speed.ranks is not None:
        slowest, mean = 1e3 * speed.ranks["greatest"], 1e3 * speed.ranks["mean"]
        lines.append(f"  straggler   rank {speed.ranks['slowest']}: {slowest:.3g} ms of work a step, {mean:.3g} in the mean of all ranks")
    return lines
