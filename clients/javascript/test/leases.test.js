import assert from "node:assert/strict";
import { test } from "node:test";
import { Player } from "./play.js";

async function claimed(options, expiresIn = 5_000) {
  const player = new Player({});
  await player.step({ connect: {} });
  const claim = player.engine.holds.claim({ type: "claim", key: "lock", ...options }, options);
  await player.step({ sends: { type: "claim", id: "$id" } });
  await player.step({ receives: { type: "claimed", id: "$id", key: "lock", fence: 1, expires_at: player.now + expiresIn } });
  return { player, lease: await claim };
}

test("a claim is not held after its time, whatever it ends with besides", async () => {
  for (const until of [undefined, "disconnect"]) {
    const { player, lease } = await claimed({ ttl: 5, until, renew: false });
    assert.ok(lease.isHeld);
    player.now += 5_000;
    assert.ok(!lease.isHeld, "looked at before any timer");
    await player.step({ advance: 1_000 });
    assert.equal(await lease.ended, "expired");
  }
});

test("a claim is not held once its time by the server's clock is over, though ours stood still", async () => {
  const { player, lease } = await claimed({ ttl: 5 });
  await player.step({ user: "clock", ahead: 6_000 });
  assert.ok(!lease.isHeld);
});

test("a claim is renewed until it is given up, and not after, whatever becomes of the answer", async () => {
  const { player, lease } = await claimed({ ttl: 6 }, 6_000);
  await player.step({ advance: 2_000 });
  await player.step({ sends: { type: "renew", fence: 1, ttl: 6, id: "$renew" } });
  const release = lease.release();
  assert.ok(!lease.isHeld);
  await player.step({ sends: { type: "release", fence: 1 } });
  await player.step({ receives: { type: "claimed", id: "$renew", key: "lock", fence: 1, expires_at: player.now + 6_000 } });
  await player.step({ drop: true });
  await assert.rejects(release, { code: "outcome_unknown" });
  await player.step({ advance: 1_000 });
  await player.step({ connect: {} });
  await player.step({ advance: 60_000 });
  await player.step({ silent: true });
  assert.equal(await lease.ended, undefined);
});

test("a claim that ends with its connection is lost with it, also when the two come together", async () => {
  const player = new Player({});
  await player.step({ connect: {} });
  const claim = player.engine.holds.claim({ type: "claim", key: "lock", until: "disconnect" }, { until: "disconnect" });
  await player.step({ sends: { type: "claim", id: "$id" } });
  player.engine.received(JSON.stringify(player.fill({ type: "claimed", id: "$id", key: "lock", fence: 1, expires_at: player.now + 24_000 })));
  player.engine.received('{"type":"bye","code":"shutting_down"}');
  const lease = await claim;
  assert.ok(!lease.isHeld);
  assert.equal(await lease.ended, "disconnected");
});

test("a refused renewal loses the claim", async () => {
  const { player, lease } = await claimed({ ttl: 6 }, 6_000);
  await player.step({ advance: 2_000 });
  await player.step({ sends: { type: "renew", id: "$renew" } });
  await player.step({ receives: { type: "refused", id: "$renew", key: "lock", code: "stale_fence", holder: null, expires_at: null } });
  assert.ok(!lease.isHeld);
  assert.equal(await lease.ended, "stale_fence");
});

test("a renewal with what no server would take is refused here, and the claim stays", async () => {
  const { player, lease } = await claimed({ ttl: 6 }, 6_000);
  for (const value of [NaN, "\ud800", 1n]) await assert.rejects(lease.renew({ value }), { code: "bad_value" });
  await assert.rejects(lease.renew({ tll: 1 }), { code: "bad_option" });
  await player.step({ silent: true });
  assert.ok(lease.isHeld);
});
