"""The fields of KubeRay's resources, from its API reference (ray.io/v1, operator 1.5.1), as strict JSON schemas; pod templates have Kubernetes' own.

The CRDs themselves come in no package that can be installed here; what they check beyond names, types and enumerations is not checked.
"""

from __future__ import annotations

from typing import Any

STRING, BOOLEAN, WHOLE = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
STRINGS = {"type": "object", "additionalProperties": STRING}  # a number here is the commonest mistake: the operator takes text alone
ANY = {"type": "object"}


def closed(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    """An object that has these fields and no other."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


METADATA = closed((), name=STRING, generateName=STRING, namespace=STRING, labels=STRINGS, annotations=STRINGS)
AUTOSCALER = closed(
    (),
    resources=ANY,
    image=STRING,
    imagePullPolicy=STRING,
    securityContext=ANY,
    idleTimeoutSeconds=WHOLE,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    env={"type": "array"},
    envFrom={"type": "array"},
    volumeMounts={"type": "array"},
)
HEAD = closed(
    ("template",),
    template=ANY,
    headService=ANY,
    enableIngress=BOOLEAN,
    resources=STRINGS,
    labels=STRINGS,
    rayStartParams=STRINGS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
)
GROUP = closed(
    ("groupName", "template", "minReplicas", "maxReplicas"),
    suspend=BOOLEAN,
    groupName=STRING,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    idleTimeoutSeconds=WHOLE,
    resources=STRINGS,
    labels=STRINGS,
    rayStartParams=STRINGS,
    template=ANY,
    scaleStrategy=ANY,
    numOfHosts=WHOLE,
)
CLUSTER = closed(
    ("headGroupSpec",),
    suspend=BOOLEAN,
    managedBy={"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]},
    authOptions=closed((), mode={"enum": ["disabled", "token"]}),
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=STRINGS,
    enableInTreeAutoscaling=BOOLEAN,
    gcsFaultToleranceOptions=ANY,
    headGroupSpec=HEAD,
    rayVersion=STRING,
    workerGroupSpecs={"type": "array", "items": GROUP},
)
JOB = closed(
    (),
    activeDeadlineSeconds=WHOLE,
    backoffLimit=WHOLE,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=ANY,
    metadata=STRINGS,
    clusterSelector=STRINGS,
    submitterConfig=closed((), backoffLimit=WHOLE),
    managedBy=STRING,
    deletionStrategy=ANY,
    entrypoint=STRING,
    runtimeEnvYAML=STRING,
    jobId=STRING,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    entrypointResources=STRING,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    ttlSecondsAfterFinished=WHOLE,
    shutdownAfterJobFinishes=BOOLEAN,
    suspend=BOOLEAN,
)
SCHEMAS = {
    kind: closed(("apiVersion", "kind", "metadata", "spec"), apiVersion={"const": "ray.io/v1"}, kind={"const": kind}, metadata=METADATA, spec=spec)
    for kind, spec in {"RayCluster": CLUSTER, "RayJob": JOB}.items()
}
