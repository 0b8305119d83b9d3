"""A peer of W&B's client for tests: as much of the server's GraphQL and file stream as wandb-core 0.31 uses for runs, files and artifacts.

What it was told lies in plain attributes. Lines of the file stream are put where their offset says, as W&B's own server does.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY, ORGANIZATION = "team", "org"
_THEN = "2026-11-21T00:00:00Z"


@dataclass
class Run:
    """What the server holds of one run."""

    identifier: str
    told: dict[str, Any] = field(default_factory=dict)  # what upserts said last: displayName, groupName, jobType, tags ...
    config: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.streams.get("wandb-history.jsonl", [])]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.streams.get("wandb-events.jsonl", [])]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.streams.get("wandb-summary.json", [])
        return json.loads(lines[-1]) if lines else {}


@dataclass
class Artifact:
    """A version of an artifact, with the bytes of its files."""

    told: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""
    state: str = "PENDING"
    links: list[dict[str, Any]] = field(default_factory=list)


class Server:
    """The server's memory, and how it behaves: `answers`, `fails` (502 to everything) or `refuses` (401 to everything)."""

    def __init__(self) -> None:
        self.behaviour = "answers"
        self.fails_after_rows: int | None = None  # of history, after which it fails
        self.runs: dict[str, Run] = {}
        self.artifacts: list[Artifact] = []
        self.requests = 0
        self.unknown: list[str] = []
        self.url = ""

    def stream(self, identifier: str, body: dict[str, Any]) -> dict[str, Any]:
        """Take a piece of a run's file stream."""
        run = self.runs[identifier]
        for name, chunk in (body.get("files") or {}).items():
            lines = run.streams.setdefault(name, [])
            offset = chunk.get("offset", 0)
            assert offset <= len(lines), f"{name}: a hole between {len(lines)} and {offset}"
            lines[offset : offset + len(chunk["content"])] = chunk["content"]
        if self.fails_after_rows is not None and len(run.history) >= self.fails_after_rows:
            self.behaviour = "fails"
        if body.get("complete"):
            run.exits.append(body["exitcode"])
        return {}

    def upload(self, path: str, body: bytes) -> None:
        """Take an uploaded file: /upload/run/<id>/<name>, /upload/artifact/<number>/<name> or /upload/manifest/<number>."""
        kind, owner, *name = path.removeprefix("/upload/").split("/", 2)
        if kind == "run":
            self.runs[owner].files[name[0]] = body
        elif kind == "artifact":
            self.artifacts[int(owner)].files[name[0]] = body
        else:
            self.artifacts[int(owner)].manifest = body

    def answer(self, query: str, variables: dict[str, Any]) -> Any:
        """Answer one GraphQL request, by the name of its operation."""
        operation = re.findall(r"\b(?:query|mutation)\s+(\w+)", query)[0]
        method = getattr(self, f"_{operation}", None)
        if method is None:
            self.unknown.append(f"{query} {variables}")
            return {}
        return method(**variables)

    def _RunResumeStatus(self, name: str, **_: Any) -> Any:
        run = self.runs.get(name)
        bucket = None if run is None else {"id": name, "name": name, "displayName": run.told.get("displayName"), **_resume(run)}
        return {"model": {"id": "p", "name": "modelyard", "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}}

    def _UpsertBucket(self, name: str, config: str | None = None, **told: Any) -> Any:
        inserted = name not in self.runs
        run = self.runs.setdefault(name, Run(name))
        run.told |= {k: v for k, v in told.items() if v is not None}
        if config is not None:
            run.config |= json.loads(config)
        project = {"id": "p", "name": told.get("project"), "entity": {"id": "e", "name": ENTITY}}
        known = {"id": name, "name": name, "displayName": run.told.get("displayName"), "config": json.dumps(run.config), "project": project}
        return {"upsertBucket": {"bucket": {**known, "historyLineCount": len(run.history)}, "inserted": inserted}}

    def _CreateRunFiles(self, run: str, files: list[str], **_: Any) -> Any:
        told = [{"name": name, "uploadUrl": f"{self.url}/upload/run/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": told}}

    def _MarkRunFilesUploaded(self, **_: Any) -> Any:
        return {"markRunFilesUploaded": {"success": True}}

    def _Viewer(self) -> Any:
        return {"viewer": {"id": "v", "entity": ENTITY, "username": "me", "email": None, "flags": "{}", "teams": {"edges": []}}}

    def _GetDefaultEntity(self) -> Any:
        return self._Viewer()

    def _ArtifactType(self, **_: Any) -> Any:
        return {"project": None}

    def _ServerFeaturesQuery(self) -> Any:
        return {"serverInfo": {"features": [{"name": "none", "isEnabled": False}]}}

    def _CreateArtifact(self, input: dict[str, Any]) -> Any:
        self.artifacts.append(Artifact(input))
        artifact = {"id": str(len(self.artifacts) - 1), "state": "PENDING", "artifactSequence": {"id": "s", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _CreateArtifactManifest(self, **_: Any) -> Any:
        number = len(self.artifacts) - 1
        file = {"id": "f", "uploadUrl": f"{self.url}/upload/manifest/{number}/m", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def _CreateArtifactFiles(self, input: dict[str, Any]) -> Any:
        edges = []
        for asked in input["artifactFiles"]:
            number = asked["artifactID"]
            url = f"{self.url}/upload/artifact/{number}/{asked['name']}"
            told = {"id": "f", "name": asked["name"], "displayName": asked["name"], "uploadUrl": url, "uploadHeaders": [], "artifact": {"id": number}}
            edges.append({"node": {**told, "storagePath": asked["name"], "uploadMultipartUrls": None}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _UpdateArtifactManifest(self, **_: Any) -> Any:
        number = len(self.artifacts) - 1
        file = {"id": "f", "uploadUrl": f"{self.url}/upload/manifest/{number}/m", "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def _CommitArtifact(self, artifactID: str) -> Any:
        self.artifacts[int(artifactID)].state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": self.artifacts[int(artifactID)].told["digest"]}}}

    def _RunHistoryKeys(self, name: str, **_: Any) -> Any:
        return {"project": {"run": self._keys(self.runs[name])}}

    def _ArtifactByID(self, id: str, **_: Any) -> Any:
        artifact = self.artifacts[int(id)]
        project = {"id": "p", "internalId": "1", "name": "modelyard", "entity": {"name": ENTITY}}
        sequence = {"__typename": "ArtifactSequence", "name": artifact.told["artifactCollectionName"], "project": project}
        aliases = [
            {"__typename": "ArtifactAlias", "id": "a", "alias": told["alias"], "artifactCollection": sequence} for told in artifact.told["aliases"]
        ]
        known = {"description": None, "ttlDurationSeconds": -1, "ttlIsInherited": False, "tags": [], "historyStep": None, "commitHash": None}
        sized = {"state": artifact.state, "size": 1, "digest": artifact.told["digest"], "fileCount": 1, "createdAt": _THEN, "updatedAt": _THEN}
        told = {"__typename": "Artifact", "id": id, "artifactSequence": sequence, "versionIndex": int(id), "artifactType": {"name": "model"}}
        return {"artifact": {**known, **sized, **told, "metadata": artifact.told["metadata"], "aliases": aliases}}

    def _FetchOrgInfoFromEntity(self, **_: Any) -> Any:
        organization = {"name": ORGANIZATION, "orgEntity": {"name": f"{ORGANIZATION}-entity"}}
        return {"entity": {"organization": organization, "user": None}}

    def _Run(self, name: str, **_: Any) -> Any:
        run = self.runs.get(name)
        if run is None:
            return {"project": {"run": None}}
        named = {"id": name, "name": name, "displayName": name, "group": None, "jobType": None, "sweepName": None, "commit": None, "readOnly": False}
        texts = {
            "config": json.dumps(run.config),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "description": None,
            "notes": None,
        }
        more = {"projectId": "1", "tags": [], "state": "finished", "createdAt": _THEN, "heartbeatAt": _THEN, "user": {"name": "me", "username": "me"}}
        return {"project": {"run": {**named, **texts, **more, "historyLineCount": len(run.history), **self._keys(run)}}}

    def _keys(self, run: Run) -> dict[str, Any]:
        return {"historyKeys": {"lastStep": max((row["_step"] for row in run.history), default=-1), "keys": {}}}

    def _LinkArtifact(self, input: dict[str, Any]) -> Any:
        self.artifacts[int(input["artifactID"])].links.append(input)
        project = {"id": "r", "internalId": "2", "name": input["projectName"], "entity": {"name": input["entityName"]}}
        collection = {"__typename": "ArtifactPortfolio", "name": input["artifactPortfolioName"], "project": project}
        told = {"__typename": "ArtifactCollectionMembership", "id": "m", "versionIndex": 0, "createdAt": _THEN, "aliases": []}
        return {
            "result": {"versionIndex": 0, "artifactMembership": {**told, "artifactCollection": collection, **self._ArtifactByID(input["artifactID"])}}
        }

    def _OrganizationCoreWeaveOrganizationID(self, **_: Any) -> Any:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}


def _resume(run: Run) -> dict[str, Any]:
    history, events = (run.streams.get(f"wandb-{name}.jsonl", []) for name in ("history", "events"))
    return {
        "summaryMetrics": json.dumps(run.summary),
        "logLineCount": 0,
        "historyLineCount": len(history),
        "eventsLineCount": len(events),
        "historyTail": json.dumps(history[-1:]),
        "eventsTail": json.dumps(events[-1:]),
        "config": json.dumps(run.config),
        "tags": run.told.get("tags") or [],
        "notes": None,
        "wandbConfig": json.dumps({"t": 1}),
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._take(lambda body: {})

    def do_PUT(self) -> None:
        self._take(lambda body: self.server.peer.upload(self.path, body))

    def do_POST(self) -> None:
        peer = self.server.peer

        def take(body: bytes) -> Any:
            if self.path == "/graphql":
                asked = json.loads(body)
                return {"data": peer.answer(asked["query"], asked.get("variables") or {})}
            if self.path.endswith("/file_stream"):
                return peer.stream(self.path.split("/")[-2], json.loads(body))
            return {}

        self._take(take)

    def _take(self, take: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        peer = self.server.peer
        peer.requests += 1
        if peer.behaviour == "answers":
            self._reply(take(body) or {})
        else:
            self._reply({"errors": [{"message": peer.behaviour}]}, {"fails": 502, "refuses": 401}[peer.behaviour])

    def _reply(self, value: Any, code: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    peer: Server

    def handle_error(self, *_: Any) -> None:
        """A client that is killed leaves its connections as they are."""


@contextmanager
def wandb_server() -> Iterator[Server]:
    """Serve on a loopback port for the block."""
    peer = Server()
    with _Listener(("127.0.0.1", 0), _Handler) as listener:
        listener.peer = peer
        peer.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield peer
        finally:
            listener.shutdown()
            thread.join()
