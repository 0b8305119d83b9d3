"""Kubernetes' manifests: against Kubernetes' own schemas (objects and pod templates) and KubeRay's fields, and what they promise of safety."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.infra.kuberay import SCHEMAS

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "kuberay"
KUBERNETES = "1.37"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates of a Deployment or a RayCluster."""
    spec = document["spec"]
    groups = [spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", []), spec]
    return [group["template"] for group in groups if "template" in group]


def check(document: dict[str, Any]) -> None:
    """Raises when something is wrong in the document or in its pod templates."""
    if document["kind"] in SCHEMAS:
        jsonschema.Draft202012Validator(SCHEMAS[document["kind"]]).validate(document)
        for template in templates(document):
            labels = template["metadata"]["labels"]
            spec = {"selector": {"matchLabels": labels}, "template": template}
            check({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "of-a-template"}, "spec": spec})
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


ALL = [(path.name, document) for path in sorted(FOLDER.glob("*.yaml")) for document in documents(path.name)]
PODS = [template for _, document in ALL for template in templates(document)]
(CLUSTER,) = documents("raycluster.yaml")
(WORKER,) = documents("worker.yaml")
(JOB,) = documents("rayjob.yaml")


@pytest.mark.parametrize(("name", "document"), ALL, ids=[f"{name}-{document['kind']}" for name, document in ALL])
def test_the_schemas_take_it(name, document):
    check(document)


def gpu_container(document):
    return document["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]


MISTAKES = {
    "a field that is not there": lambda d: d["spec"].update(workerGroups=[]),
    "a number for ray start": lambda d: d["spec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    "a mode that is none": lambda d: d["spec"]["authOptions"].update(mode="tokens"),
    "a field of a pod that is not there": lambda d: gpu_container(d).update(livenesProbe={}),
    "a port that is a word": lambda d: gpu_container(d)["livenessProbe"]["httpGet"].update(port=[52365]),
    "a toleration that is a word": lambda d: d["spec"]["workerGroupSpecs"][0]["template"]["spec"].update(tolerations="gpu"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_the_schemas_find_a_mistake(mistake):
    wrong = copy.deepcopy(CLUSTER)
    mistake(wrong)
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


@pytest.mark.parametrize("template", PODS)
def test_a_pod_is_nobody_and_is_watched(template):
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] >= 1000
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {"requests", "limits"} <= set(container["resources"])
        assert "livenessProbe" in container or pod.get("restartPolicy") == "Never"  # a job ends by itself
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]} >= {"shared"}


@pytest.mark.parametrize("template", PODS)
def test_secrets_come_from_secrets(template):
    for variable in template["spec"]["containers"][0].get("env", []):
        secret = any(word in variable["name"] for word in ("KEY", "TOKEN", "AUTH_STRING", "PASSWORD"))
        assert ("secretKeyRef" in variable.get("valueFrom", {})) == secret, variable["name"]


def test_the_parts_name_each_other():
    name = CLUSTER["metadata"]["name"]
    env = {v["name"]: v for v in WORKER["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["RAY_ADDRESS"]["value"] == f"{name}-head-svc:6379"  # as the operator names the head's service
    assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": name, "key": "auth_token"}  # as it names the token that it makes
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    assert JOB["spec"]["clusterSelector"] == {"ray.io/cluster": name}
    claims = {d["metadata"]["name"] for _, d in ALL if d["kind"] == "PersistentVolumeClaim"}
    assert {v["persistentVolumeClaim"]["claimName"] for pod in PODS for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v} == claims


def test_gpu_pods_go_where_gpus_are():
    (group,) = CLUSTER["spec"]["workerGroupSpecs"]
    resources = gpu_container(CLUSTER)["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"]
    assert any(t["key"] == "nvidia.com/gpu" for t in group["template"]["spec"]["tolerations"])
    assert CLUSTER["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
