from __future__ import annotations

import asyncio
import json
import unittest
from typing import Any

from starling import Pattern, StarlingError
from starling._clock import Clock, format_version, parse_version
from starling._register import Register

from .play import Player
from .support import vectors


class VectorTests(unittest.TestCase):
    def test_patterns(self) -> None:
        cases = vectors("patterns")
        self.assertGreater(len(cases["matches"]), 20)
        for case in cases["matches"]:
            with self.subTest(case):
                self.assertEqual(Pattern(case["pattern"]).matches(case["key"]), case["matches"])
        for case in cases["invalid"]:
            with self.subTest(case), self.assertRaises(StarlingError) as caught:
                Pattern(case["pattern"])
            self.assertEqual(caught.exception.code, "bad_pattern")

    def test_clocks(self) -> None:
        for case in vectors("clocks")["cases"]:
            clock = Clock()
            for step in case["steps"]:
                if "receive" in step:
                    clock.receive(*step["receive"])
                else:
                    self.assertEqual(list(clock.tick(step["tick"])), step["stamp"], case["name"])

    def test_a_fraction_of_a_millisecond_does_not_repeat_a_stamp(self) -> None:
        clock = Clock()
        self.assertEqual([clock.tick(1000.2), clock.tick(1000.9), clock.tick(1001.1)], [(1000, 0), (1000, 1), (1001, 0)])

    def test_versions(self) -> None:
        cases = vectors("versions")
        self.assertEqual(cases["rising"], sorted(cases["rising"]))
        for text in cases["rising"]:
            self.assertEqual(format_version(*parse_version(text)), text)
        for text in cases["invalid"]:
            with self.subTest(text), self.assertRaises(StarlingError):
                parse_version(text)

    def test_merges(self) -> None:
        cases = vectors("merges")
        for case in cases["cases"]:
            less, greater = register(case["less"]), register(case["greater"])
            self.assertTrue(greater > less and not less > greater, case["name"])
        for case in cases["same"]:
            self.assertTrue(register(case["a"]).is_same(register(case["b"])), case["name"])


def register(fields: dict[str, Any]) -> Register:
    raw = {name: fields.pop(name) for name in ("value", "metadata") if name in fields}
    text = "{" + ",".join([json.dumps(fields)[1:-1], *(f'"{name}":{value}' for name, value in raw.items())]) + "}"
    return Register("k", json.loads(text), text)


class TranscriptTests(unittest.IsolatedAsyncioTestCase):
    async def test_transcripts(self) -> None:
        transcripts = vectors("clients")["transcripts"]
        self.assertGreater(len(transcripts), 20)
        for transcript in transcripts:
            with self.subTest(transcript["name"]):
                player = Player(transcript)
                for index, step in enumerate(transcript["steps"], 1):
                    try:
                        await player.step(step)
                    except AssertionError as error:
                        raise AssertionError(f"step {index}, {json.dumps(step)}: {error}") from error
                player.engine.close()
                await asyncio.sleep(0)
