"""A trained model as files: what stands in them, that they are enough, and that they are checked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.errors import UserError
from components.export.export import ExportRequest, export
from components.export.load import load, load_eager
from components.files import read_json, sha256_file
from components.training.checkpoint import load_weights, verify
from components.training.inputs import Inputs
from components.training.session import LocalSession
from tests.export.trained import Exported, train_and_export


@pytest.fixture(scope="module")
def lenet(tmp_path_factory) -> Exported:
    return train_and_export("cnn/lenet5", tmp_path_factory.mktemp("lenet"), run_id="cnn-lenet5-0", git={"commit": "abc", "dirty": False})


def test_the_program_of_its_card_answers_where_torch_and_numpy_alone_are_imported(lenet):
    """The five lines of MODEL_CARD.md, in an isolated Python, on the rows of example.npz: equal to the bit."""
    (code,) = re.findall(r"```python\n(.*?)```", (lenet.directory / "MODEL_CARD.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) == 5
    code += """
import json, sys
for name in (n for n in example if n.startswith("output.")):
    assert torch.equal(outputs[name[7:]], torch.from_numpy(example[name])), name
one, many = ({"inputs": inputs["inputs"][:1].repeat(n, 1, 1, 1)} for n in (1, 9))
assert program(one)["logits"].shape == (1, 10) and program(many)["logits"].shape == (9, 10)
print(json.dumps(sorted({n.partition(".")[0] for n in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=lenet.directory, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert not {"components", "flows", "ray", "prefect", "hydra", "omegaconf", "wandb", "dvc"} & set(json.loads(done.stdout))


def test_the_answers_are_those_of_the_evaluation(lenet):
    """From raw bytes in the program; from transformed ones in the model that was trained. Probabilities are the softmax of the logits."""
    example = np.load(lenet.directory / "example.npz")
    assert example["input.inputs"].dtype == np.uint8
    model, task = lenet.system.build()
    load_weights(lenet.checkpoint, model, verify(lenet.checkpoint)["weights"])
    inputs = Inputs(lenet.system.data, "test", lenet.system.spec, LocalSession())
    rows = np.linspace(0, inputs.rows, 4, endpoint=False).astype(int)
    raw = inputs.dataset.fetch(rows)
    np.testing.assert_array_equal(example["input.inputs"], raw["inputs"].numpy())
    batch = inputs._transform(raw, None, inputs._evaluation_transforms)  # type: ignore[arg-type]
    with torch.no_grad():
        logits = task.predict(task.split(model.eval()), batch)["logits"]
    np.testing.assert_array_equal(example["output.logits"], logits.numpy())
    np.testing.assert_allclose(example["output.probabilities"], np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-5)


def test_what_model_json_says_is_so(lenet):
    described = read_json(lenet.directory / "model.json")
    assert described == lenet.described
    assert described["files"] == {p.name: sha256_file(p) for p in lenet.directory.iterdir() if p.name != "model.json"}
    assert described["inputs"] == [{"name": "inputs", "dtype": "uint8", "shape": ["rows", 1, 8, 8]}]
    assert [one["name"] for one in described["outputs"]] == ["logits", "probabilities"]
    assert described["program"]["batch"] == {"minimum": 1, "maximum": None} and described["program"]["equal"]
    meta = verify(lenet.checkpoint)
    assert described["checkpoint_sha256"] == meta["files"][meta["weights"]]["sha256"]
    assert described["parameters"] == 61_706 == sum(v.numel() for v in load_file(lenet.directory / "model.safetensors").values())
    assert described["statistics"]["inputs"]["mean"] == read_json(lenet.system.data / "card.json")["statistics"]["inputs"]["mean"]
    assert "optimizer" not in described["system"] and described["system"]["augment"]["train"] == []


def test_the_model_and_its_task_come_back(lenet):
    model, task = load(lenet.directory)
    trained = load_file(lenet.checkpoint / verify(lenet.checkpoint)["weights"])
    assert not model.training and all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert task.class_names == tuple("0123456789")  # type: ignore[attr-defined]


def test_the_same_checkpoint_gives_the_same_bytes_and_no_folder_of_this_machine(lenet, tmp_path):
    request = ExportRequest(lenet.system.spec, lenet.system.data, lenet.checkpoint, tmp_path, origin=lenet.described["origin"])
    again = export(request)["files"]
    assert {name for name, sha256 in lenet.described["files"].items() if again[name] != sha256} == {"MODEL_CARD.md"}  # no metrics were given
    with zipfile.ZipFile(tmp_path / "program.pt2") as archive:
        assert not [name for name in archive.namelist() if str(Path.cwd()).encode() in archive.read(name)]


def test_a_changed_file_a_full_directory_and_no_export_are_refused(lenet, tmp_path):
    with pytest.raises(UserError, match="no exported model"):
        load(tmp_path)
    for path in lenet.directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"model\.safetensors is not what was written"):
        load(tmp_path)
    with pytest.raises(UserError, match="empty directory"):
        export(ExportRequest(lenet.system.spec, lenet.system.data, lenet.checkpoint, tmp_path))


def test_a_transform_that_draws_is_not_put_into_a_program_nor_anywhere(lenet, tmp_path):
    spec = lenet.system.spec
    draws = replace(spec, augment=replace(spec.augment, always=(*spec.augment.always, spec.augment.train[0])))
    with pytest.raises(UserError, match="draws random numbers"):
        export(ExportRequest(draws, lenet.system.data, lenet.checkpoint, tmp_path))


def test_what_cannot_be_a_program_says_why_and_loads_with_this_package(tmp_path):
    """A translation's length depends on its tokens: torch.export refuses."""
    made = train_and_export("language/transformer_words", tmp_path)
    program = made.described["program"]
    assert program["file"] is None and "data-dependent" in program["reason"] and not (made.directory / "program.pt2").exists()
    card = (made.directory / "MODEL_CARD.md").read_text()
    assert program["reason"] in card and "load_eager" in card
    example = np.load(made.directory / "example.npz")
    batch = {name[6:]: torch.from_numpy(example[name]) for name in example if name.startswith("input.")}
    with torch.no_grad():
        np.testing.assert_array_equal(load_eager(made.directory)(batch)["beam"].numpy(), example["output.beam"])


def test_a_generator_is_exported_from_noise_and_graphs_with_any_number_of_nodes(tmp_path):
    described = train_and_export("generative/dcgan", tmp_path / "gan").described
    assert [one["name"] for one in described["inputs"]] == ["noise"] and described["outputs"][0]["dtype"] == "uint8"
    described = train_and_export("graph/gcn_mutag", tmp_path / "graphs").described
    assert [one["name"] for one in described["inputs"]] == ["edges", "edges.offsets", "nodes", "nodes.offsets"]
    assert described["program"]["file"] and described["program"]["batch"]["maximum"] is None
