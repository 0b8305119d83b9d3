"""The digest of a night: what changed, what was promoted or why not, in Markdown (Prefect's pages, chat) and for the terminal."""

from __future__ import annotations

from typing import Any

Plain = dict[str, Any]
_SIGNS = {"promoted": "promoted", "refused": "refused", "failed": "FAILED", "unchanged": "nothing new", "left": "left for the next night"}


def digest_markdown(found: Plain) -> str:
    """Return the digest of a night's record as Markdown."""
    lines = [f"# Night of {found['started']}", "", headline(found), "", f"Cost: {cost_line(found)}.", ""]
    lines += ["| model | what became of it | champion | measured | gain on the same rows |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {o['model']} | {_became(o)} | {_champion(o)} | {_measured(o)} | {gain_text(o)} |" for o in found["outcomes"]]
    for o in found["outcomes"]:
        lines += [*_section("Changed", o, o["changes"]), *_section("Why not" if o["status"] != "promoted" else "All the same", o, o["reasons"])]
    return "\n".join(lines) + "\n"


def _section(title: str, outcome: Plain, told: list[str]) -> list[str]:
    return ["", f"**{outcome['model']}: {title}**", "", *(f"- {_one_line(line)}" for line in told)] if told else []


def digest_text(found: Plain) -> str:
    """Return the digest of a night's record for the terminal."""
    width = max((len(o["model"]) for o in found["outcomes"]), default=0)
    lines = [headline(found)]
    for o in found["outcomes"]:
        parts = [_became(o), f"champion {_champion(o)}", _measured(o), gain_text(o) and f"gain {gain_text(o)}"]
        lines.append(f"  {o['model']:<{width}}  {'; '.join(part for part in parts if part)}")
        lines += [f"  {'':<{width}}    changed: {_one_line(line)}" for line in o["changes"]]
        lines += [f"  {'':<{width}}    why: {_one_line(line)}" for line in o["reasons"]]
    return "\n".join([*lines, f"  cost: {cost_line(found)}", f"  {found['page']}"])


def cost_line(found: Plain) -> str:
    """Return what the night held and what was wasted of it, in one line."""
    cost, told = found["cost"], []
    for kind in ("gpu", "cpu"):
        held, wasted = cost[f"{kind}_seconds"], cost[f"wasted_{kind}_seconds"]
        if held:
            told.append(f"{held / 3600:.3f} {kind.upper()}-hours" + (f", {wasted / held:.0%} of them wasted" if wasted else ""))
    if not told:
        return "nothing"
    amount = cost["money"]["amount"]
    return "; ".join([*told, *([f"{amount:.2f} {cost['money']['currency'] or ''}".rstrip()] if amount is not None else [])])


def headline(found: Plain) -> str:
    """Return the night in one sentence."""
    if found["interrupted"] is not None:
        return f"INTERRUPTED in the turn of {found['interrupted']}. Before it: {_summary(found['outcomes'])}"
    return _summary(found["outcomes"])


def _summary(outcomes: list[Plain]) -> str:
    counts = {status: sum(o["status"] == status for o in outcomes) for status in _SIGNS}
    trained = sum(o["trained"] for o in outcomes)
    if counts["unchanged"] == len(outcomes) > 0 == trained:
        whose = "a version that was made before" if any(o["reasons"] for o in outcomes) else "the champion"
        return f"Nothing new: data, configuration and code of {_count(len(outcomes))} are those of {whose}. Nothing was trained."
    told = [f"{count} {_SIGNS[status]}" for status, count in counts.items() if count]
    return f"{_count(len(outcomes))}, {trained} trained{': ' * bool(told)}{', '.join(told)}."


def _count(models: int) -> str:
    return "1 model" if models == 1 else f"{models} models"


def _became(outcome: Plain) -> str:
    again = outcome["status"] == "refused" and not outcome["trained"]
    return _SIGNS[outcome["status"]] + (", as before: nothing new" if again else "")


def _champion(outcome: Plain) -> str:
    if outcome["champion"] is None:
        return "none" if outcome["status"] not in ("failed", "left") else "as before"
    if outcome["status"] == "promoted":
        return f"{outcome['before'] or 'none'} -> {outcome['champion']}"
    return f"stays {outcome['champion']}"


def _measured(outcome: Plain) -> str:
    if outcome["value"] is None:
        return ""
    before = "" if outcome["before_value"] is None else f"{outcome['before_value']:.4g} -> "
    return f"{outcome['metric']} {before}{outcome['value']:.4g}"


def gain_text(outcome: Plain) -> str:
    """Return the gain with its interval; nothing where two models were not compared."""
    gain = outcome["gain"]
    return "" if gain is None or outcome["status"] == "unchanged" else f"{gain['gain']:+.4f} [{gain['lower']:+.4f}, {gain['upper']:+.4f}]"


def _one_line(text: str) -> str:
    return " ".join(text.split())
