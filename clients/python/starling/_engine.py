"""All that a client decides."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ._delivery import Callback
from ._edges import Edges, EdgeStatus
from ._errors import StarlingError
from ._knowledge import Knowledge
from ._leases import Holds
from ._liveness import Liveness
from ._options import Options, Port
from ._outbox import Outbox, Outcome
from ._register import Register
from ._requests import Requests, Take, refused
from ._subscription import NEVER, Subscriptions, SubscriptionState
from ._writer import MAXIMUM_DEPTH, Writer, check_depth, check_time_to_live

_CONNECT_TIMEOUT = 10_000
#: A connection that lived so long was a good one.
_GOOD_CONNECTION = 5_000
#: The longest message, where the server does not say.
_LONGEST_MESSAGE = (1 << 20) + (64 << 10)


class Engine:
    """All that a client decides, without a socket, a timer or a clock of its own: the shell reports what happens (``received``,
    ``dropped``, ``probed``, ``tick``), and carries out what is asked of its port."""

    def __init__(self, options: Options, port: Port) -> None:
        self._options = options
        self._port = port
        self.agent = options.agent or options.random_agent
        self.state = "offline"
        self.edge = options.urls[0]
        self._phase = "idle"
        self._phase_since: float = 0
        self._edges = Edges(options.urls, options.random)
        self.knowledge = Knowledge(options.wall)
        self.is_own = self.knowledge.is_own
        self._writer = Writer(self, options)
        self._liveness = Liveness(options.ping_interval, options.ping_timeout)
        self.subscriptions = Subscriptions(self, self._writer.outbox)
        self.holds = Holds(self)
        self._requests = Requests()
        self._longest_message = _LONGEST_MESSAGE
        self._last_live = -NEVER
        # Whether the server was asked which name we have.
        self._is_nameless = False
        self._probe_at = NEVER
        # Whether the user wants no connection.
        self._paused = False
        self._waiting_for_credentials: list[Callable[[Exception], None]] = []
        self._handlers: dict[str, Callable[[dict[str, Any], str], None]] = {
            "welcome": lambda message, _: self._welcome(message),
            "subscribed": lambda message, _: self._subscribed(message),
            "update": self._update,
            "synced": lambda message, _: self._synced(message),
            "cursor": lambda message, _: self._cursor(message),
            "pong": lambda message, _: self._pong(message.get("time")),
            "ack": self._answer,
            "error": self._answer,
            "bye": lambda message, _: self._bye(message),
            **dict.fromkeys(("claimed", "refused", "released", "register", "registers"), self._answer),
        }

    def now(self) -> float:
        return self._options.now()

    def random(self) -> float:
        return self._options.random()

    def server_now(self) -> float:
        """The server's wall clock, as far as it is known."""
        return self.knowledge.now()

    def log(self, level: str, message: str) -> None:
        self._options.log(level, message)

    def wake(self) -> None:
        self._port.wake()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        self._port.start(work)

    # What the shell reports.

    def begin(self, records: list[dict[str, Any]]) -> None:
        self._writer.restore(records)
        self._dial()

    def _dial(self) -> None:
        url = None if self._paused else self._edges.choose(self.now())
        if url is None:
            self._set_phase("idle")
            return
        self.edge = url
        self._set_phase("dialing")
        self._port.dial(url)

    def _set_phase(self, phase: str) -> None:
        self._phase = phase
        self._phase_since = self.now()
        self._update_state()
        self._port.wake()

    def _update_state(self) -> None:
        state = self._compute_state()
        if state == self.state:
            return
        self.state = state
        self.log("info", state if state == "offline" else f"{state} ({self.edge})")
        self._port.state_changed(state)

    def _compute_state(self) -> str:
        if self._phase == "closed":
            return "closed"
        if self._phase == "idle":
            return "offline"
        if self._phase != "open":
            return "connecting"
        return "live" if self.subscriptions.are_synced else "catching-up"

    def received(self, text: str) -> None:
        """A message came."""
        if self._phase in ("idle", "closed"):
            return
        self._liveness.last_heard = self.now()
        if self.state == "live":
            self._last_live = self._liveness.last_heard
        try:
            message = json.loads(text)
            handler = self._handlers.get(message.get("type", "")) if isinstance(message, dict) else None
            if handler is not None:
                handler(message, text)
        except Exception:  # noqa: BLE001: one message that we cannot make sense of is no reason to lose the others
            self.log("error", f"cannot take {text[:200]}: {traceback.format_exc()}")

    def _subscribed(self, message: dict[str, Any]) -> None:
        if subscription := self.subscriptions.find(message.get("id")):
            subscription.subscribed(message)

    def _synced(self, message: dict[str, Any]) -> None:
        if subscription := self.subscriptions.find(message.get("id")):
            subscription.finished_catching_up(message["cursor"])
        self._update_state()

    def _cursor(self, message: dict[str, Any]) -> None:
        if subscription := self.subscriptions.find(message.get("id")):
            subscription.reached(message["cursor"])

    def _answer(self, message: dict[str, Any], text: str) -> None:
        # What we write next is to be above whatever we know of.
        self.knowledge.learn_from(message)
        id = message.get("id")
        if isinstance(id, int) and self._writer.answer(id, message, text):
            self._port.wake()
            return
        if message["type"] in ("ack", "claimed", "released") and "version" in message:
            self.knowledge.remember(message["version"])
        if isinstance(id, str) and self._requests.answer(id, message):
            pass
        elif message["type"] == "error":
            self._failed(id, message)

    def _failed(self, id: Any, message: dict[str, Any]) -> None:
        if id == "hello":
            self._unwelcome(message)
            return
        if id == "ping":
            self._pong(None)
            return
        subscription = self.subscriptions.find(id)
        if subscription is None:
            self.log("warning", f"{message.get('code')}: {message.get('message')}")
            return
        if self.subscriptions.refused(subscription, message):
            self._subscribe(subscription)
        self._update_state()
        self._port.wake()

    def _welcome(self, message: dict[str, Any]) -> None:
        if self._phase == "dialing":
            is_first = self.knowledge.offset is None
            offset = self.knowledge.welcomed(message)
            if is_first:
                self._writer.corrected(offset)
            self._longest_message = message.get("limits", {}).get("message", _LONGEST_MESSAGE)
            self._set_phase("greeting")
            self._hello(self.agent)
            # Before the subscriptions: behind a snapshot it would measure that.
            self._ping()
            for subscription in self.subscriptions:
                self._subscribe(subscription)
        elif self._phase == "greeting":
            if message["agent"] != self.agent:
                self.agent = message["agent"]
                self._writer.renamed()
            self._set_phase("open")
            self._writer.flush()
            self.holds.greeted()
            self._probe_at = min(self._probe_at, self.now())

    def _hello(self, agent: str | None) -> None:
        hello = {"agent": agent, "session": self._options.session, "token": self._options.token()}
        present = {key: value for key, value in hello.items() if value is not None}
        self.send(json.dumps({"type": "hello", "id": "hello", **present}))

    @property
    def is_greeted(self) -> bool:
        return self._phase == "open"

    def _unwelcome(self, message: dict[str, Any]) -> None:
        # The credentials say who we are, and a name that nobody chose is no reason to disagree.
        if message["code"] == "forbidden" and self._options.agent is None and not self._is_nameless:
            self._is_nameless = True
            self._hello(None)
            return
        if message.get("retry"):
            self._leave(message.get("retry_after_ms", 0))
            return
        error = StarlingError(message["code"], message["message"], message)
        self.log("error", f"the server refuses the credentials: {error}")
        for reject in list(self._waiting_for_credentials):
            reject(error)
        self._leave(self._options.refused_delay)

    def _bye(self, message: dict[str, Any]) -> None:
        self.log("info", f"the server says bye: {message.get('code')}: {message.get('reason')}")
        self._leave(message.get("retry_after_ms") or 0)

    def _leave(self, retry_after: float) -> None:
        """Ends the connection, and does not use this edge for at least so many milliseconds."""
        self._judge_edge()
        self._edges.failed(self.edge, self.now(), retry_after)
        self._port.hang_up()
        self._disconnected()

    def dropped(self, reason: str) -> None:
        """The connection, or the attempt at one, ended without our doing."""
        if self._phase in ("idle", "closed"):
            return
        self.log("info", f"the connection to {self.edge} ended: {reason}")
        self._judge_edge()
        self._edges.failed(self.edge, self.now())
        self._disconnected()

    def _judge_edge(self) -> None:
        """A connection that lasted closes the breaker: one that is greeted and then dropped, again and again, does not."""
        if self._phase == "open" and self.now() >= self._phase_since + _GOOD_CONNECTION:
            self._edges.succeeded(self.edge)

    def _disconnected(self) -> None:
        self._forget_connection()
        self._dial()

    def _forget_connection(self) -> None:
        self._liveness.disconnected()
        self._is_nameless = False
        self.subscriptions.disconnected()
        self._requests.disconnected()
        self._writer.disconnected()
        self.holds.disconnected()

    def probed(self, url: str, round_trip: float | None) -> None:
        """What a probe of another edge found: its round trip in milliseconds; None if it does not answer."""
        if self._phase == "closed":
            return
        if round_trip is None:
            self._edges.failed(url, self.now())
        else:
            self._edges.measured(url, round_trip)
            self._edges.succeeded(url)
        # A move is not worth a lost claim, or an answer that does not come.
        if self._phase != "open" or self._requests or self.holds.need_connection:
            return
        better = self._edges.better(self.edge, self.now())
        if better is None:
            return
        self.log("info", f"{better} is nearer than {self.edge}")
        self._port.hang_up()
        self._forget_connection()
        self.edge = better
        self._set_phase("dialing")
        self._port.dial(better)

    # Time.

    def deadline(self) -> float:
        """When ``tick`` is to be called next."""
        times = [self.holds.deadline()]
        if self._phase == "idle":
            times.append(NEVER if self._paused else self._edges.next_attempt())
        elif self._phase in ("dialing", "greeting"):
            times.append(self._phase_since + _CONNECT_TIMEOUT)
        elif self._phase == "open":
            times.append(self._liveness.deadline())
            if self._writer.paused_until > 0:
                times.append(self._writer.paused_until)
            if len(self._edges) > 1:
                times.append(self._probe_at)
            times.extend(subscription.retry_at for subscription in self.subscriptions)
        return min(times)

    def tick(self) -> None:
        now = self.now()
        if self._phase == "closed":
            return
        self.holds.tick(now)
        if self._phase == "idle":
            if self._edges.next_attempt() <= now:
                self._dial()
        elif self._phase != "open":
            if now >= self._phase_since + _CONNECT_TIMEOUT:
                self._give_up("it did not answer in time")
        else:
            self._tick_open(now)
        self._port.wake()

    def _tick_open(self, now: float) -> None:
        verdict = self._liveness.tick(now)
        if verdict == "leave":
            self._give_up("it does not answer pings")
            return
        if verdict == "ping":
            self._ping()
        self._judge_edge()
        self._writer.flush()
        for subscription in self.subscriptions:
            if subscription.retry_at <= now:
                self._subscribe(subscription)
        if now >= self._probe_at:
            # Spread, so that a thousand clients do not probe at once.
            self._probe_at = now + self._options.probe_interval * (0.5 + self.random())
            for url in self._edges.others(self.edge, now):
                self._port.probe(url)

    def disconnect(self) -> None:
        """Ends the connection, and makes none until ``reconnect``."""
        if self._paused or self._phase == "closed":
            return
        self._paused = True
        if self._phase != "idle":
            self._port.hang_up()
            self._disconnected()

    def reconnect(self) -> None:
        """Tries at once, however long the wait would be: after ``disconnect``, or when the network is back."""
        self._paused = False
        if self._phase == "idle":
            self._edges.forgive()
            self._dial()

    def _give_up(self, reason: str) -> None:
        self._port.hang_up()
        self.dropped(reason)

    def _ping(self) -> None:
        self._liveness.pinged(self.now())
        self.send('{"type":"ping","id":"ping"}')

    def _pong(self, server_time: float | None) -> None:
        pong = self._liveness.ponged(self.now())
        if pong is not None and server_time is not None:
            round_trip, is_good = pong
            self._edges.measured(self.edge, round_trip)
            if is_good:
                self.knowledge.set_time(server_time + round_trip / 2)
        self._port.wake()

    def send(self, text: str) -> None:
        self._port.send(text)

    def age(self) -> float:
        """How long ago, in milliseconds, what the replica holds was certainly the latest; infinity if it never was."""
        return self.now() - (self._liveness.last_heard if self.state == "live" else self._last_live)

    @property
    def edges(self) -> list[EdgeStatus]:
        return self._edges.describe(self.now())

    # Subscriptions.

    def subscribe(self, pattern: str, callback: Callback | None, snapshot: bool, echo: bool) -> SubscriptionState:
        if self._phase == "closed":
            raise StarlingError("closed", "the client was closed")
        subscription = self.subscriptions.add(pattern, callback, snapshot, echo)
        if self._phase in ("greeting", "open"):
            self._subscribe(subscription)
        self._update_state()
        return subscription

    def _subscribe(self, subscription: SubscriptionState) -> None:
        subscription.retry_at = NEVER
        self.send(json.dumps(subscription.request()))

    def unsubscribe(self, subscription: SubscriptionState) -> None:
        if not self.subscriptions.remove(subscription):
            return
        subscription.end(None)
        if self._phase in ("greeting", "open"):
            self.send(json.dumps({"type": "unsubscribe", "id": subscription.id}))
        self._update_state()

    def _update(self, message: dict[str, Any], text: str) -> None:
        register = Register(message["key"], message, text)
        if message.get("transient"):
            self.subscriptions.transient(register)
            return
        self.knowledge.learn(register.version)
        self.confirm(register)

    def confirm(self, register: Register) -> None:
        self.subscriptions.confirm(register)

    def touch(self, key: str, cause: str | None = None) -> None:
        self.subscriptions.touch(key, cause)

    def read(self, key: str) -> Register | None:
        return self.subscriptions.read(key)

    # Writes and requests.

    def write(self, key: str, **fields: Any) -> asyncio.Future[Outcome]:
        if self._phase == "closed":
            raise StarlingError("closed", "the client was closed")
        return self._writer.write(key, **fields)

    @property
    def outbox(self) -> Outbox:
        return self._writer.outbox

    def check_size(self, text: str, what: str) -> None:
        """
        :raises StarlingError: ``too_large``
        """
        if len(text) * 4 > self._longest_message and (size := len(text.encode())) > self._longest_message:
            limit = self._longest_message
            raise StarlingError("too_large", f"the message for {what} is {size} bytes; the server's limit is {limit}")

    def request(self, message: dict[str, Any], take: Take = lambda answer: answer) -> Awaitable[Any]:
        """Asks the server.

        :param take: makes the result of the answer, before anything else comes from the server
        :raises StarlingError: ``offline`` at once where there is no connection
        """
        if self._phase != "open":
            text = f"there is no connection to {', '.join(self._options.urls)}; {message['type']} is not queued"
            return refused(StarlingError("offline", text))
        try:
            text = json.dumps(message, ensure_ascii=False, allow_nan=False)
            check_time_to_live(message.get("ttl"))
            check_depth(message["type"], text, MAXIMUM_DEPTH)
            self.check_size(text, message["type"])
        except (TypeError, ValueError) as error:
            return refused(StarlingError("bad_value", f"the {message['type']} has no JSON: {error}"))
        except StarlingError as error:
            return refused(error)
        return self._requests.ask(message, self.send, take)

    def on_credentials_refused(self, reject: Callable[[Exception], None]) -> Callable[[], None]:
        """Calls back with what the server has against the credentials.

        :return: a function that ends it
        """
        self._waiting_for_credentials.append(reject)
        return lambda: self._waiting_for_credentials.remove(reject)

    def close(self) -> None:
        if self._phase == "closed":
            return
        if self._phase != "idle":
            self._port.hang_up()
        self.holds.close()
        self._forget_connection()
        self.subscriptions.close()
        self._writer.close()
        self._set_phase("closed")
