import { diagnose } from "./diagnosis.js";
import { StarlingError } from "./errors.js";

/** A server may speak other protocols elsewhere: this is the one that is meant. */
const SUBPROTOCOL = "starling.v1";
const PROBE_TIMEOUT = 5_000;
const PROBE_PINGS = 3;
/** For so long a server that could not be reached is not asked again why, in milliseconds. */
const DIAGNOSIS_HOLDS = 10_000;
/** For so long a server may take to say goodbye, in milliseconds. */
const GOODBYE = 1_000;

/**
 * The sockets of a client: the one in use, and those that measure other edges.
 *
 * @param {{received: (text: string) => void, dropped: (reason: string) => void, probed: (url: string, roundTrip?: number) => void}} engine
 */
export function dialer(options, engine) {
  const { log } = options;
  const WebSocket = options.WebSocket ?? globalThis.WebSocket;
  if (WebSocket === undefined) {
    throw new StarlingError(
      "no_websocket",
      "there is no WebSocket here; use Node 22 or later, or node --experimental-websocket, or pass one: connect(url, {WebSocket})",
    );
  }
  /** The sockets that measure other edges, by URL. */
  const probes = new Map();
  let current;
  let token = typeof options.token === "function" ? undefined : options.token;

  async function dial(url) {
    const attempt = (current = { socket: undefined });
    if (typeof options.token === "function") {
      try {
        token = await options.token();
        if (token !== undefined && token !== null && typeof token !== "string") throw new Error(`it gave a ${typeof token}, and not a text`);
      } catch (error) {
        // Later: the engine may be in the middle of something.
        queueMicrotask(() => current === attempt && engine.dropped(`the token function threw: ${error?.message ?? error}`));
        return;
      }
    }
    if (current !== attempt) return;
    let socket;
    try {
      socket = attempt.socket = new WebSocket(url, SUBPROTOCOL);
    } catch (error) {
      current = undefined;
      // Later: the engine may be in the middle of something.
      queueMicrotask(() => engine.dropped(error.message));
      return;
    }
    const isCurrent = () => current === attempt;
    let isOpen = false;
    socket.addEventListener("open", () => (isOpen = true));
    socket.addEventListener("message", ({ data }) => isCurrent() && engine.received(data));
    let isFailing = false;
    /** There is no connection, and no other event may come that says so: some only have the one, some only the other. */
    const fail = () => {
      if (isOpen || isFailing) return;
      isFailing = true;
      explain(url).then((why) => {
        if (!isCurrent()) return;
        current = undefined;
        engine.dropped(why.reason, why.code, why.isFinal);
      });
    };
    socket.addEventListener("error", fail);
    socket.addEventListener("close", ({ code, reason }) => {
      if (!isCurrent()) return;
      if (!isOpen) return fail();
      current = undefined;
      engine.dropped(reason || `closed with code ${code}`);
    });
  }

  /** Why no connection could be made. Asked once for a failure that lasts: it is a request of its own. */
  let known;
  async function explain(url) {
    const now = options.now();
    if (known?.url !== url || now > known.until) {
      const why = (await diagnose(url)) ?? { reason: "no WebSocket could be opened", code: "offline", isFinal: false };
      known = { url, why, until: now + DIAGNOSIS_HOLDS };
    }
    return known.why;
  }

  function send(text) {
    if (current?.socket?.readyState === 1) current.socket.send(text);
  }

  function hangUp() {
    const socket = current?.socket;
    current = undefined;
    if (socket) end(socket);
  }

  /** A server that is frozen never says goodbye, and would keep the process: a socket that can be cut off is. */
  function end(socket) {
    socket.close();
    if (typeof socket.terminate !== "function") return;
    const timer = setTimeout(() => socket.readyState !== 3 && socket.terminate(), GOODBYE);
    timer.unref?.();
  }

  /** The least of a few round trips: what is on the way, not what is in front of it. */
  function probe(url) {
    if (probes.has(url)) return;
    let socket;
    try {
      socket = new WebSocket(url, SUBPROTOCOL);
    } catch {
      queueMicrotask(() => engine.probed(url, undefined));
      return;
    }
    probes.set(url, () => finish(undefined));
    let best = Infinity;
    let left = PROBE_PINGS;
    let sentAt;
    const ping = () => {
      sentAt = performance.now();
      socket.send('{"type":"ping"}');
    };
    const finish = (roundTrip) => {
      if (!probes.delete(url)) return;
      clearTimeout(timer);
      end(socket);
      engine.probed(url, roundTrip);
    };
    const timer = setTimeout(() => finish(undefined), PROBE_TIMEOUT);
    socket.addEventListener("open", ping);
    socket.addEventListener("error", () => finish(undefined));
    socket.addEventListener("close", () => finish(undefined));
    socket.addEventListener("message", ({ data }) => {
      if (!data.startsWith('{"type":"pong"')) return;
      best = Math.min(best, performance.now() - sentAt);
      left--;
      if (left > 0) ping();
      else finish(best);
    });
    log("debug", `measuring ${url}`);
  }

  /** Ends what is still being measured. */
  function close() {
    for (const finish of [...probes.values()]) finish();
  }

  return { dial, send, hangUp, probe, close, token: () => token };
}
