from __future__ import annotations

import asyncio
import unittest
from typing import Any

from starling import Lease, StarlingError

from .play import Player


class LeaseTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.player = Player({})
        await self.play({"connect": {}})

    async def play(self, step: dict[str, Any]) -> None:
        await self.player.step(step)
        # What waits for an answer goes on.
        for _ in range(3):
            await asyncio.sleep(0)

    async def claim(self, ttl: float | None = None, until: str | None = None, renew: bool = True) -> Lease:
        claim = asyncio.ensure_future(self.player.engine.holds.claim({"type": "claim", "key": "lock"}, ttl, until, renew))
        await asyncio.sleep(0)
        await self.play({"sends": {"type": "claim", "id": "$id"}})
        expires_at = self.player.time + 1000 * (ttl or 24)
        await self.play({"receives": {"type": "claimed", "id": "$id", "key": "lock", "fence": 1, "expires_at": expires_at}})
        return await claim

    async def test_not_held_after_its_time(self) -> None:
        for until in (None, "disconnect"):
            lease = await self.claim(5, until, renew=False)
            self.assertTrue(lease.is_held)
            self.player.time += 5_000
            self.assertFalse(lease.is_held, "looked at before any timer")
            await self.play({"advance": 1_000})
            self.assertEqual(await lease.ended, "expired")
            self.player.names.clear()

    async def test_not_held_after_its_time_by_the_wall_clock(self) -> None:
        lease = await self.claim(5)
        await self.play({"user": "clock", "ahead": 6_000})
        self.assertFalse(lease.is_held)

    async def test_not_renewed_after_release(self) -> None:
        lease = await self.claim(6)
        await self.play({"advance": 2_000})
        await self.play({"sends": {"type": "renew", "fence": 1, "ttl": 6, "id": "$renew"}})
        release = asyncio.ensure_future(lease.release())
        await asyncio.sleep(0)
        self.assertFalse(lease.is_held)
        await self.play({"sends": {"type": "release", "fence": 1}})
        answer = {"type": "claimed", "id": "$renew", "key": "lock", "fence": 1, "expires_at": self.player.time + 6_000}
        await self.play({"receives": answer})
        await self.play({"drop": True})
        with self.assertRaises(StarlingError) as caught:
            await release
        self.assertEqual(caught.exception.code, "outcome_unknown")
        await self.play({"advance": 1_000})
        await self.play({"connect": {}})
        await self.play({"advance": 60_000})
        await self.play({"silent": True})

    async def test_lost_with_its_connection_when_both_come_together(self) -> None:
        claim = asyncio.ensure_future(self.player.engine.holds.claim({"type": "claim", "key": "lock"}, None, "disconnect", True))
        await asyncio.sleep(0)
        await self.play({"sends": {"type": "claim", "id": "$id"}})
        message = {"type": "claimed", "id": "$id", "key": "lock", "fence": 1, "expires_at": self.player.time + 24_000}
        self.player.do_receives(message, None)
        self.player.do_receives({"type": "bye", "code": "shutting_down"}, None)
        lease = await claim
        self.assertFalse(lease.is_held)
        self.assertEqual(await lease.ended, "disconnected")

    async def test_refused_renewal(self) -> None:
        lease = await self.claim(6)
        await self.play({"advance": 2_000})
        await self.play({"sends": {"type": "renew", "id": "$renew"}})
        await self.play({"receives": {"type": "refused", "id": "$renew", "key": "lock", "code": "stale_fence"}})
        self.assertFalse(lease.is_held)
        self.assertEqual(await lease.ended, "stale_fence")
