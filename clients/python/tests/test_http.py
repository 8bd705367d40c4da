"""What the server answers over HTTP is what its OpenAPI document says, and the document is one."""

from __future__ import annotations

import http.client
import json
import unittest
from typing import Any
from urllib.parse import quote

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from .support import HAS_SERVER, ROOT, Server

_DOCUMENT = json.loads((ROOT / "protocol/openapi.json").read_text(encoding="utf-8"))


@unittest.skipUnless(HAS_SERVER, "no server is built")
class OpenAPITests(unittest.TestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        self.addCleanup(self.connection.close)
        self.seen: set[tuple[str, str, int]] = set()

    def resolve(self, node: Any) -> Any:
        while isinstance(node, dict) and "$ref" in node:
            target: Any = _DOCUMENT
            for name in node["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            node = target
        return node

    def ask(self, method: str, template: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Asks, and holds the answer to the document."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, None if body is None else json.dumps(body), names)
        response = self.connection.getresponse()
        content = response.read()
        described = _DOCUMENT["paths"][template][method.lower()]["responses"]
        answer = self.resolve(described.get(str(response.status), described.get("default")))
        self.assertIsNotNone(answer, f"{method} {path}: {response.status} is not described")
        self.seen.add((method, template, response.status))
        answered = {name.lower(): value for name, value in response.getheaders()}
        for name in answer.get("headers", {}):
            if name != "Starling-Expires-At":
                self.assertIn(name.lower(), answered)
        if not content:
            return response.status, None, answered
        kind = answered["content-type"]
        self.assertIn(kind, answer["content"])
        value = json.loads(content)
        schema = {**self.resolve(answer["content"][kind]["schema"]), "components": _DOCUMENT["components"]}
        Draft202012Validator(schema).validate(value)
        return response.status, value, answered

    def test_the_document_is_one(self) -> None:
        validate(_DOCUMENT)
        self.connection.request("GET", "/openapi.json")
        self.assertEqual(json.loads(self.connection.getresponse().read()), _DOCUMENT)

    def test_answers_are_as_described(self) -> None:
        key, one = "/v1/keys/{key}", "/v1/keys/" + quote("a:1", safe="")
        self.ask("GET", key, one)
        _, _, first = self.ask("PUT", key, f"{one}?ttl=60", {"x": 1}, Starling_Agent="me", Starling_Session="s")
        self.ask("GET", key, one)
        self.ask("GET", key, one, If_None_Match=first["etag"])
        self.ask("PUT", key, one, 2, If_None_Match="*")
        self.ask("PUT", key, one, 2, If_Match=first["etag"])
        self.ask("PUT", key, f"{one}?tll=1", 2)
        self.ask("PATCH", key, f"{one}?ttl=90")
        self.ask("PATCH", key, "/v1/keys/nothing?ttl=90")
        self.ask("PATCH", "/v1/keys", "/v1/keys?key=a:1&ttl=100")
        self.ask("GET", key, f"{one}?wait=0&revision=2")
        self.ask("GET", "/v1/keys", "/v1/keys?pattern=*&limit=1")
        self.ask("GET", "/v1/keys", "/v1/keys?pattern=***")
        self.ask("PUT", "/v1/keys", "/v1/keys?key=b", [None])
        self.ask("DELETE", "/v1/keys", "/v1/keys?key=b")
        self.ask("DELETE", key, one, If_Match=first["etag"])
        self.ask("DELETE", key, one)
        claim, lock = "/v1/claims/{key}", "/v1/claims/lock"
        _, claimed, _ = self.ask("POST", claim, lock, {"ttl": 60, "value": {"by": "me"}, "metadata": {"m": 1}})
        self.ask("POST", claim, lock, {"ttl": 60})
        self.ask("PUT", key, "/v1/keys/lock", 1)
        self.ask("PATCH", claim, lock, {"fence": claimed["fence"], "ttl": 90})
        self.ask("DELETE", claim, lock, {"fence": 1})
        self.ask("DELETE", claim, lock, {"fence": claimed["fence"]})
        self.ask("POST", "/v1/claims", "/v1/claims?key=lock2", {"ttl": 1})
        self.ask("PATCH", "/v1/claims", "/v1/claims?key=lock2", {"fence": 1})
        self.ask("DELETE", "/v1/claims", "/v1/claims?key=lock2", {"fence": 1})
        batches = "/v1/batches"
        self.ask("POST", batches, batches, {"writes": [{"key": "a:1", "value": 1, "expect": None}, {"key": "b", "value": 2, "ttl": 60}]})
        self.ask("POST", batches, batches, {"writes": [{"key": "a:1", "delete": True, "expect": None}], "require": [{"key": "l", "fence": 1}]})
        self.ask("POST", batches, batches, {"writes": [{"key": "a:1", "delete": True, "expect": None}]})
        self.ask("POST", batches, batches, {"writes": []})
        for _ in range(2):
            self.ask("POST", batches, batches, {"writes": [{"key": "c", "value": 1, "expect": None}]}, Idempotency_Key="0011223344556677")
        self.ask("GET", "/v1/events", "/v1/events?pattern=")
        self.ask_of_swarms()
        self.ask_of_memory()
        described = {(m.upper(), p) for p, item in _DOCUMENT["paths"].items() for m in item if m != "parameters"}
        self.assertEqual({(method, path) for method, path, _ in self.seen}, described)

    def ask_of_swarms(self) -> None:
        swarms, swarm, tasks = "/v1/swarms", "/v1/swarms/{swarm}", "/v1/swarms/{swarm}/tasks"
        task, at = tasks + "/{task}", "/v1/swarms/s%3A1"
        self.ask("GET", swarm, at)
        for topology in ("mesh", "star"):
            self.ask("POST", swarms, swarms, {"swarm": "s:1", "topology": topology})
        for agent in ("ada", "bob"):
            self.ask("PUT", swarm + "/agents/{agent}", f"{at}/agents/{agent}")
        self.ask("PUT", swarm + "/agents/{agent}", f"{at}/agents/ada", {"role": "coder"}, Starling_Agent="bob")
        made = [{"id": "a/b", "input": {"x": 1}}, {"id": "c", "dependencies": ["a/b"], "capabilities": ["gpu"]}]
        for _ in range(2):
            status, _, _ = self.ask("POST", tasks, f"{at}/tasks", {"tasks": made}, Idempotency_Key="00112233445566aa")
            self.assertEqual(status, 201)
        self.ask("POST", tasks, f"{at}/tasks", {"tasks": [{"id": "d", "dependencies": ["e"]}]})
        _, handed, _ = self.ask("POST", swarm + "/next", f"{at}/next?wait=1", {"lease": 60}, Starling_Agent="ada")
        self.assertEqual((handed["task"]["task_id"], handed["input"]), ("a/b", {"x": 1}))
        self.assertEqual(self.ask("POST", swarm + "/next", f"{at}/next", Starling_Agent="bob")[0], 204)
        one, fence = f"{at}/tasks/a%2Fb", handed["fence"]

        def tell(verb: str, body: object) -> int:
            return self.ask("POST", f"{task}/{verb}", f"{one}/{verb}", body, Starling_Agent="ada")[0]

        self.assertEqual(tell("progress", {"fence": fence, "value": {"percent": 1}}), 200)
        self.assertEqual(tell("release", {"fence": fence + 1}), 409)
        self.assertEqual([tell("revoke", None), tell("assign", {"agent_id": "ada"}), tell("depend", {"on": []})], [200] * 3)
        for verb, after in (("park", "resume"), ("release", None), ("fail", "retry")):
            _, handed, _ = self.ask("POST", swarm + "/next", f"{at}/next", Starling_Agent="ada")
            self.assertEqual(tell(verb, {"fence": handed["fence"]}), 200)
            if after:
                self.assertEqual(tell(after, None), 200)
        self.assertEqual([tell("cancel", {}), tell("retry", {})], [200, 200])
        _, handed, _ = self.ask("POST", swarm + "/next", f"{at}/next", Starling_Agent="ada")
        self.assertEqual(tell("complete", {"fence": handed["fence"], "result": [1]}), 200)
        _, whole, _ = self.ask("GET", task, one)
        self.assertEqual((whole["result"], whole["task"]["status"]), ([1], "completed"))
        self.ask("GET", task, f"{at}/tasks/none")
        _, listed, _ = self.ask("GET", tasks, f"{at}/tasks?status=ready")
        self.assertEqual([row["task_id"] for row in listed["tasks"]], ["c"])
        _, sent, _ = self.ask("POST", swarm + "/messages", f"{at}/messages", {"to": "bob", "body": "hi"}, Starling_Agent="ada")
        self.ask("POST", swarm + "/messages", f"{at}/messages", {"to": "nobody", "body": 1}, Starling_Agent="ada")
        _, inbox, _ = self.ask("GET", swarm + "/inbox/{agent}", f"{at}/inbox/bob")
        self.assertEqual([message["key"] for message in inbox["messages"]], [sent["key"]])
        stamp = sent["key"].split(":")[-1]
        self.ask("DELETE", swarm + "/inbox/{agent}/{stamp}", f"{at}/inbox/bob/{stamp}")
        self.ask("GET", swarm + "/events", f"{at}/events?pattern=x")
        self.ask("GET", swarm, at)
        self.ask("DELETE", swarm + "/agents/{agent}", f"{at}/agents/ada")
        self.ask("DELETE", swarm, at)

    def ask_of_memory(self) -> None:
        memory, one = "/v1/memory/{agent}/{key}", "/v1/memory/a%3Ab/auth/decision"
        status, _, first = self.ask("PUT", memory, f"{one}?ttl=60&tag=x&refresh_on_read=true&priority=high&metadata=%7B%22m%22:1%7D", {"text": "words of a memory"})
        self.assertEqual(status, 200)
        self.ask("GET", memory, one)
        self.assertEqual(self.ask("GET", memory, one, If_None_Match=first["etag"])[0], 304)
        self.ask("PUT", memory, one, 2, If_None_Match="*")
        self.ask("GET", memory, "/v1/memory/eve/auth/decision")
        self.ask("GET", "/v1/memory", "/v1/memory?agent=a:b&prefix=auth/")
        self.ask("GET", "/v1/memory", "/v1/memory")
        search = "/v1/search"
        knowledge, named = "/v1/knowledge", "/v1/knowledge/{knowledge}"
        text = {"topic": "T", "content": "words that are known", "tags": ["x"], "confidence": 0.5, "source": "s", "supersedes": "old"}
        self.assertEqual([self.ask("POST", knowledge, knowledge, text)[0] for _ in range(2)], [201, 200])
        self.ask("POST", knowledge, knowledge, {"topic": "T"})
        self.assertEqual(self.ask("PUT", named, f"{knowledge}/my%3Aown", {"topic": "T", "content": "words of mine"})[0], 201)
        self.ask("GET", named, f"{knowledge}/my%3Aown")
        self.ask("GET", named, f"{knowledge}/nothing")
        self.ask("GET", knowledge, f"{knowledge}?topic=t&tag=x&limit=1")
        _, found, _ = self.ask("GET", search, f"{search}?q=words&limit=2")
        self.assertEqual(len(found["results"]), 2)
        self.ask("GET", search, f"{search}?q=words&in=memory&tag=x&agent=a:b&order=seed")
        self.ask("GET", search, search)
        self.ask("DELETE", named, f"{knowledge}/my%3Aown")
        self.ask("DELETE", memory, one)
