"""Checkpoints are whole or absent, whatever is killed when."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from components.errors import RunError, UserError
from components.files import write_json
from components.training.checkpoint import Checkpoints, load_weights, verify
from components.training.ownership import Ownership
from components.training.plain_state import load_state
from components.training.pointer import resolve_pointer
from components.training.strategy import model_state
from tests.crash import crashes


def model_of(step: int) -> nn.Linear:
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, float(step))
    return model


def weights_of(step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": model_state(model_of(step))}


def save(checkpoints: Checkpoints, step: int, *, best: bool, value: float | None = None) -> Path:
    return checkpoints.save(step, weights_of(step), {"step": torch.tensor(step)}, {"note": "x", "value": value}, best=best)


def stands_for(directory: Path | None) -> int | None:
    """The step of a checkpoint, after looking at everything in it; None for none."""
    if directory is None:
        return None
    meta, model = verify(directory), nn.Linear(3, 2)
    load_weights(directory, model)
    assert directory.name == f"step_{meta['step']:08d}" and meta["note"] == "x"
    assert int(load_state(directory)["step"]) == meta["step"] and bool((model.weight == meta["step"]).all())
    return meta["step"]


def pointers(checkpoints: Checkpoints) -> tuple[int | None, int | None]:
    return stands_for(checkpoints.path("latest")), stands_for(checkpoints.path("best"))


def directories(checkpoints: Checkpoints) -> set[str]:
    return {p.name for p in checkpoints.directory.iterdir() if p.is_dir()}


def test_pointers_move_and_what_neither_names_is_deleted(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.path("latest") is None and checkpoints.path("best") is None
    history = []
    for step, best in ((1, True), (2, False), (3, False), (4, True), (5, False)):
        assert save(checkpoints, step, best=best) == checkpoints.path("latest")
        history.append((*pointers(checkpoints), len(directories(checkpoints))))
    assert history == [(1, 1, 1), (2, 1, 2), (3, 1, 2), (4, 4, 1), (5, 4, 2)]


def test_the_same_step_again_takes_the_place_of_the_first(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, best=True)
    checkpoints.save(1, weights_of(1), {"step": torch.tensor(1)}, {"note": "x", "again": True}, best=True)
    assert pointers(checkpoints) == (1, 1) and verify(checkpoints.path("latest"))["again"] is True


@pytest.mark.parametrize(("mode", "kept", "best"), [("max", {3, 5, 6}, 3), ("min", {1, 4, 6}, 1)])
def test_the_best_few_are_kept_beside_the_latest(tmp_path, mode, kept, best):
    """Values by step: 1: .2, 2: .5, 3: .9, 4: .3, 5: .7; the sixth was not validated. Of equals the earlier."""
    checkpoints = Checkpoints(tmp_path, keep_best=2, mode=mode)
    for step, value in enumerate((0.2, 0.5, 0.9, 0.3, 0.7, None), start=1):
        save(checkpoints, step, best=step == best, value=value)
    assert directories(checkpoints) == {f"step_{step:08d}" for step in kept}
    save(checkpoints, 7, best=False, value=checkpoints.ranking()[1][0])
    assert [p.name for _, p in checkpoints.ranking()[:2]] == [f"step_{step:08d}" for step in sorted(kept - {6}, reverse=False)[:2]]


def test_what_cannot_be_deleted_is_a_warning(tmp_path, monkeypatch, caplog):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, best=True)
    monkeypatch.setattr("os.rmdir", refuse)
    save(checkpoints, 2, best=True)
    assert pointers(checkpoints) == (2, 2) and "a superseded checkpoint stays" in caplog.text


def refuse(*_arguments, **_options):
    raise PermissionError(13, "busy")


def test_a_checkpoint_is_named_by_itself_by_a_pointer_or_by_the_folder(tmp_path):
    directory = save(Checkpoints(tmp_path), 1, best=True)
    for named in (directory, tmp_path / "best", tmp_path / "latest", tmp_path):
        assert resolve_pointer(named) == directory
    with pytest.raises(UserError, match="there is no checkpoint"):
        resolve_pointer(tmp_path / "step_00000002")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_weights_saved_by_others_through_ddp_and_compile_are_read(tmp_path, prefix):
    weights = {f"{prefix}{k}": v for k, v in weights_of(5)["model"].items()}
    directory = Checkpoints(tmp_path).save(1, {"model": weights}, {}, {}, best=True)
    model = nn.Linear(3, 2)
    load_weights(directory, model)
    assert bool((model.weight == 5).all())


@pytest.mark.parametrize("best", [True, False])
def test_killed_at_any_step_of_saving_the_run_goes_on_from_what_was_saved_whole(tmp_path, best):
    """Adopted where the directory is there and a pointer is not: step 3 is never made again once it is saved, and `best` never stays behind."""
    for n in range(1, 80):
        save(Checkpoints(tmp_path / str(n)), 1, best=True)
        save(Checkpoints(tmp_path / str(n)), 2, best=False)
    seen = set()
    for n in crashes(lambda n: save(Checkpoints(tmp_path / str(n)), 3, best=best) and None):
        checkpoints = Checkpoints(tmp_path / str(n))
        before = pointers(checkpoints)
        newest = checkpoints.newest()
        checkpoints.adopt(newest)
        seen.add((before[0], stands_for(newest)))
        if stands_for(newest) == 2:
            assert before == pointers(checkpoints) == (2, 1)
            save(checkpoints, 3, best=best)
        assert pointers(checkpoints) == (3, 3 if best else 1)
        save(checkpoints, 4, best=False)
        assert pointers(checkpoints) == (4, 3 if best else 1)
        assert directories(checkpoints) == {"step_00000004", "step_00000003" if best else "step_00000001"}
    assert seen == {(2, 2), (2, 3), (3, 3)}


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, best=True)
    flip(save(checkpoints, 2, best=False) / "model.safetensors")
    assert stands_for(checkpoints.newest()) == 1
    assert "model.safetensors is not what was saved" in caplog.text and "earlier checkpoint" in caplog.text
    flip(tmp_path / "step_00000001" / "state.safetensors")
    with pytest.raises(UserError, match="is not what was saved"):  # none is whole: to begin anew is for a person to decide
        checkpoints.newest()


def test_an_attempt_that_another_has_taken_over_from_saves_nothing(tmp_path):
    lease = tmp_path / "lease.json"
    write_json(lease, {"token": "first"})
    checkpoints = Checkpoints(tmp_path / "checkpoints", owner=Ownership(lease, "first"))
    save(checkpoints, 1, best=True)
    write_json(lease, {"token": "second"})
    with pytest.raises(RunError, match=r"another attempt's \(second\)"):
        save(checkpoints, 2, best=True)
    lease.unlink()
    with pytest.raises(RunError, match="nobody's any more"):
        save(checkpoints, 3, best=True)
    assert directories(checkpoints) == {"step_00000001"} and pointers(checkpoints) == (1, 1)


def test_a_right_holds_as_long_as_the_one_that_it_is_part_of(tmp_path):
    """A group's workers write for an attempt: neither another attempt nor another group may have taken over."""
    attempt, group = tmp_path / "lease.json", tmp_path / "writer.json"
    write_json(attempt, {"token": "first"})
    write_json(group, {"token": "workers"})
    ours = Ownership.of(Ownership(group, "workers", Ownership(attempt, "first")).plain())
    assert ours is not None
    ours.require()
    write_json(group, {"token": "other workers"})
    with pytest.raises(RunError, match=r"another attempt's \(other workers\)"):
        ours.require()
    assert not ours.holds()
    write_json(group, {"token": "workers"})
    write_json(attempt, {"token": "second"})
    with pytest.raises(RunError, match=r"another attempt's \(second\)"):
        ours.require()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: flip(d / "model.safetensors"), "model.safetensors is not what was saved"),
        (lambda d: flip(d / "state.safetensors"), "state.safetensors is not what was saved"),
        (lambda d: (d / "state.json").write_bytes(b""), "state.json is not what was saved"),
        (lambda d: (d / "state.json").unlink(), "incomplete"),
        (lambda d: (d / "meta.json").unlink(), "incomplete"),
        (lambda d: (d / "meta.json").write_text('{"step": 1, "fi'), "meta.json cannot be read"),
        (lambda d: (d / "meta.json").write_text('{"step": 1}'), "meta.json cannot be read"),
        (lambda d: (d / "meta.json").write_bytes(b"\xff\xfe"), "meta.json cannot be read"),
    ],
)
def test_damage_is_the_user_s_to_mend_and_says_how(tmp_path, damage, told):
    directory = save(Checkpoints(tmp_path), 1, best=True)
    damage(directory)
    with pytest.raises(UserError, match=told) as caught:
        verify(directory)
    assert "delete the stage's directory" in str(caught.value)


def test_weights_of_another_model_are_refused(tmp_path):
    directory = save(Checkpoints(tmp_path), 1, best=True)
    for other in (nn.Linear(4, 2), nn.Linear(3, 2, bias=False), nn.Sequential(nn.Linear(3, 2))):
        with pytest.raises(UserError, match="does not fit the model"):
            load_weights(directory, other)


def test_tied_half_and_integer_weights_go_round(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3).bfloat16())
    model.append(nn.Linear(3, 3))
    model[3].weight = model[0].weight  # tied, as an embedding with the last layer of a language model
    model[1](torch.randn(4, 3))
    directory = Checkpoints(tmp_path).save(1, {"model": model_state(model)}, {}, {}, best=True)
    other = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3).bfloat16(), nn.Linear(3, 3))
    other[3].weight = other[0].weight
    load_weights(directory, other)
    for (name, saved), loaded in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(saved, loaded) and saved.dtype == loaded.dtype, name
    assert other[3].weight is other[0].weight


def test_state_is_data_not_code(tmp_path):
    """An object of a class of its own would be code to run on loading."""
    with pytest.raises(TypeError, match=r"state\.task is a type"):
        Checkpoints(tmp_path).save(1, weights_of(1), {"task": UserError}, {}, best=True)
    assert Checkpoints(tmp_path).path("latest") is None
