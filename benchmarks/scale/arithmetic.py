"""1,000 GPUs and 100 TB, reckoned from what was measured on one small machine. Each row says whether it is published, guessed or computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.scale.measure import Row
from benchmarks.scale.simulate import Job, daly, expected_efficiency, simulate, young

GPUS, TB, MIB = 1000, 1e12, float(1 << 20)
DATA_BYTES, ROW_BYTES = 100 * TB, 100e3
_HOUR, _DAY = 3600.0, 86400.0

# Grattafiori et al. 2024, "The Llama 3 Herd of Models", section 3.3.4: 419 unexpected interruptions in 54 days of pre-training on 16,384 H100.
LLAMA_FAILURES, LLAMA_DAYS, LLAMA_GPUS = 419, 54, 16_384
PARAMETERS = {"124M": 124e6, "1.3B": 1.3e9, "7B": 7e9}
BYTES_OF_A_PARAMETER = 12  # fp32: the weight and Adam's two moments
RESTART_SECONDS_GUESSED = 300.0  # of 1,000 ranks: rendezvous, NCCL, imports from a shared file system; here are two ranks
# Reading passes over all bytes before the first step, by the code: archive's sum, files' sums, DVC's md5 of raw and of prepared, the card's source
# sums, each shard's sum, the store's manifest, the check's sums, the check's survey, the statistics.
PASSES = 10
RUNS_A_DAY = 200
YEAR_DAYS = 365


def computed(known: Mapping[str, float]) -> Iterator[Row]:
    """Yield the rows of what follows from `known`, `{what: value}` of the measured rows; a row whose figures are missing is left out."""
    for part in (_failures, _checkpoints, _data, _books):
        try:
            yield from part(known)
        except KeyError as missing:
            yield _row("guessed", f"{part.__name__.strip('_')}: not reckoned", 0.0, "", f"needs the measurement {missing}")


def mtbf_hours(gpus: int) -> float:
    """Return the hours between failures of a job on so many GPUs, at the published rate of a GPU."""
    return LLAMA_DAYS * 24 * LLAMA_GPUS / LLAMA_FAILURES / gpus


def _failures(known: Mapping[str, float]) -> Iterator[Row]:
    yield _row("published", "unexpected interruptions in 54 days of 16,384 H100", LLAMA_FAILURES, "failures", "Llama 3 (2024), section 3.3.4")
    yield _row("computed", "between two of them", mtbf_hours(LLAMA_GPUS), "h", "54 d x 24 / 419")
    yield _row(
        "computed",
        f"between failures of {GPUS:,} GPUs",
        mtbf_hours(GPUS),
        "h",
        "at the same rate a GPU; a young or a rented cluster may be five times worse",
    )


def _checkpoints(known: Mapping[str, float]) -> Iterator[Row]:
    rate = known["checkpoint saved: what a core does of it"] * MIB
    restart = max(RESTART_SECONDS_GUESSED, known["from a worker's death to the training going on"])
    yield _row("guessed", f"restart of {GPUS:,} ranks", restart, "s", "measured on two ranks, see `recovery`; the rest is a guess")
    for name, parameters in PARAMETERS.items():
        for five, times in (("", 1.0), (", failing five times as often", 5.0)):
            size = parameters * BYTES_OF_A_PARAMETER
            load = size / (known["checkpoint verified: what a core does of it"] * MIB)
            job = Job(size / rate, restart + load, mtbf_hours(GPUS) * _HOUR / times)
            found = simulate(job, 400 * job.mtbf_seconds, daly(job), seed=1)
            c, r, m = job.checkpoint_seconds, job.restart_seconds, job.mtbf_seconds / _HOUR
            told = f"C = {c:.0f} s, R = {r:.0f} s, M = {m:.1f} h; Young {young(job) / 60:.0f} min"
            if times == 1.0:
                yield _row("computed", f"checkpoint of {name}", size / 1e9, "GB", "12 bytes a parameter, rank 0 writes it all")
            yield _row("computed", f"best interval, {name}{five}", daly(job) / 60, "min", told)
            yield _row(
                "computed", f"useful part of the time, {name}{five}", expected_efficiency(job, daly(job)), "", f"simulated: {found.efficiency:.3f}"
            )
    yield _row(
        "computed",
        "state of all ranks in a checkpoint",
        GPUS * known["state that each rank adds to a checkpoint"] / 1e6,
        "MB",
        "gathered by everybody",
    )


def _data(known: Mapping[str, float]) -> Iterator[Row]:
    rate = known["sha256 on a core"] * MIB
    yield _row("computed", "one pass of sha256 over 100 TB, one core", DATA_BYTES / rate / _DAY, "days", "one file after the other")
    yield _row(
        "computed", "all passes before the first step, one core", PASSES * DATA_BYTES / rate / _DAY, "days", f"{PASSES} of them, md5 taken as sha256"
    )
    yield _row(
        "computed",
        "the same on 64 cores, were every pass parallel",
        PASSES * DATA_BYTES / rate / 64 / _DAY,
        "days",
        f"reads {64 * rate / 1e9:.0f} GB/s",
    )
    for mib in (64, 4096):
        shards = DATA_BYTES / (mib * MIB)
        files = known["mapped files that the kernel allows a process"]
        seconds = shards * known["a shard opened, of a dense column and a label"] / 1e6
        yield _row("computed", f"shards of {mib} MiB in 100 TB", shards, "shards", f"two files each; the kernel maps {files:.0f} a process")
        yield _row("computed", f"opening them, on every rank, at every start ({mib} MiB)", seconds, "s", "CPU")
        yield _row("computed", f"card.json ({mib} MiB)", shards * known["a shard in card.json"] / 1e6, "MB", "read and hashed at every start")
    rows = DATA_BYTES / ROW_BYTES
    yield _row(
        "computed",
        "an epoch's order of rows of 100 KB",
        rows * known["a row of an epoch's order, on each rank"] / 1e9,
        "s",
        f"{rows:.0e} rows, each rank",
    )
    yield _row("computed", "memory for it, on each rank", rows * 24 / 1e9, "GB", "words, order, and what the stable sort copies: 24 bytes a row")
    yield _row(
        "computed", "DVC adding 100 TB", DATA_BYTES / 2**30 * known["DVC add of one large file"] / _DAY, "days of CPU", "twice: raw and prepared"
    )


def _books(known: Mapping[str, float]) -> Iterator[Row]:
    runs = RUNS_A_DAY * YEAR_DAYS
    step, entry = known["a record of a step in the journal"], known["an entry of the ledger"]
    yield _row("computed", "journal of a million steps", 1e6 / 20 * step / 1e6, "MB", "a record every 20 steps, whatever the number of workers")
    yield _row("guessed", "runs a year", runs, "runs", f"{RUNS_A_DAY} a day")
    yield _row("computed", "ledger after a year", runs * known["entries of the ledger a run"] * entry / 1e6, "MB", "never cut")
    for name in ("runs list", "gc (a look)", "verify", "cost --since"):
        yield _row(
            "computed", f"{name} after a year, nothing removed", runs / 1000 * known[f"{name}, 1,000 runs"] / 1e3, "s of CPU", "as at 1,000 runs"
        )
    rows, commits = known["Prefect rows a run"], known["sqlite commits of one row"]
    yield _row(
        "computed", "runs that end at once before sqlite is behind", commits * 60 / rows, "runs a minute", "a commit a row, nothing else written"
    )
    yield _row(
        "computed", "Prefect's database after a year", runs * known["Prefect's database grows a run"] * 1024 / 1e9, "GB", "sqlite, nothing removed"
    )


def _row(kind: str, what: str, value: float, unit: str, how: str) -> Row:
    return {"kind": kind, "what": what, "value": float(value), "unit": unit, "how": how}
