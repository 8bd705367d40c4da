"""All that a client decides."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ._check import MAXIMUM_DEPTH, check_depth, check_time_to_live
from ._delivery import Callback
from ._edges import Edges, EdgeStatus
from ._errors import StarlingError
from ._knowledge import Knowledge
from ._leases import Holds
from ._link import NEVER
from ._liveness import Liveness
from ._options import Options, Port
from ._outbox import Outbox, Outcome
from ._register import Register, parse
from ._requests import Requests, Take, refused
from ._subscription import Subscriptions, SubscriptionState
from ._writer import Writer

_CONNECT_TIMEOUT = 10_000
#: How long a question may wait to be sent.
_TIMEOUT = 10_000
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
        # Whether there is a WebSocket from which nothing has come.
        self._is_mute = False
        # Whether the user wants no connection.
        self._paused = False
        self._waiting_for_verdict: list[Callable[[StarlingError], None]] = []
        #: Why there is no connection; None while there is one.
        self.last_error: StarlingError | None = None
        # What each edge has against us that will not pass by itself.
        self._verdicts: dict[str, StarlingError] = {}
        # What was logged as that of each edge: once is enough.
        self._told: dict[str, str] = {}
        # The ids of what was sent and is not answered, in that order: the server answers in it.
        self._asked: deque[Any] = deque()
        self._handlers: dict[str, Callable[[dict[str, Any], str], None]] = {
            "welcome": lambda message, _: self._welcome(message),
            "subscribed": lambda message, _: self._subscribed(message),
            "unsubscribed": lambda message, _: self._answered(message.get("id")),
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
        self._is_mute = False
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

    def opened(self) -> None:
        """The WebSocket is there; a server of ours would speak first."""
        self._is_mute = True

    def received(self, text: str) -> None:
        """A message came."""
        if self._phase in ("idle", "closed"):
            return
        self._is_mute = False
        self._liveness.last_heard = self.now()
        if self.state == "live":
            self._last_live = self._liveness.last_heard
        try:
            message = parse(text)
        except (ValueError, RecursionError) as error:
            self.log("error", f"the server sent what is no JSON: {text[:200]!r}")
            self._cannot_take(None, error)
            return
        try:
            handler = self._handlers.get(message.get("type", "")) if isinstance(message, dict) else None
            if handler is not None:
                handler(message, text)
            elif isinstance(message, dict) and self._requests.has(message.get("id")):
                # Whatever else a request is answered with.
                self._answer(message, text)
        except Exception as error:  # noqa: BLE001: whatever it is, it must not pass unseen
            self.log("error", f"cannot take {text[:200]}: {traceback.format_exc()}")
            self._cannot_take(message, error)

    def _cannot_take(self, message: Any, error: Exception) -> None:
        """A message makes no sense to us: its request fails, or where it answers none, the connection."""
        problem = StarlingError("bad_answer", f"the server sent what this client cannot take: {error!r}")
        id = message.get("id") if isinstance(message, dict) else None
        if isinstance(id, str) and self._requests.fail(id, problem):
            return
        self._give_up(str(problem), "bad_answer")

    def _subscribed(self, message: dict[str, Any]) -> None:
        self._answered(message.get("id"))
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
        if id is None and message["type"] == "error" and self._asked:
            # What the server could not read as far as the id: answers come in order, so it is the first that has none.
            id = self._asked[0]
        self._answered(id)
        if message.get("code") == "unauthorized" and id != "hello":
            # It would say so of all that we ask: nothing that waits is to be given up for it.
            if isinstance(id, str):
                self._requests.answer(id, message)
            self._unwelcome(message)
            return
        if isinstance(id, int) and self._writer.answer(id, message, text):
            self._port.wake()
            return
        if message["type"] in ("ack", "claimed", "released") and "version" in message:
            self.knowledge.remember(message["version"])
        for version in message.get("versions", ()):
            self.knowledge.remember(version)
        if isinstance(id, str) and self._requests.answer(id, message):
            pass
        elif message["type"] == "error":
            self._failed(id, message)

    def _answered(self, id: Any) -> None:
        if self._asked and self._asked[0] == id:
            self._asked.popleft()
        elif id in self._asked:
            # "overloaded" may overtake others.
            self._asked.remove(id)

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
            self._answered("hello")
            self.last_error = None
            self._told.clear()
            self._verdicts.pop(self.edge, None)
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
        self.send(json.dumps({"type": "hello", "id": "hello", **present}), "hello")

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
            self.last_error = StarlingError("offline", f"{message['code']}: {message['message']}", message)
            self._verdicts.pop(self.edge, None)
            self._tell("warning", f"{self.edge}: {self.last_error}")
            self._leave(message.get("retry_after_ms", 0))
            return
        error = StarlingError(message["code"], message["message"], message)
        self._give_up_on(error)
        self._leave(self._options.refused_delay)

    def _give_up_on(self, error: StarlingError) -> None:
        """To try this edge again cannot help, until somebody changes something. Once that holds for all of them, whoever waits is told. It is
        tried again all the same, at times."""
        self.last_error = error
        self._verdicts[self.edge] = error
        self._tell("error", f"{self.edge}: {error}")
        if not self.has_verdict:
            return
        for reject in list(self._waiting_for_verdict):
            reject(error)
        self._requests.give_up(error)

    def _tell(self, level: str, text: str) -> None:
        """Logs why there is no connection: once, however often it is tried."""
        self.log(level if text != self._told.get(self.edge) else "debug", text)
        self._told[self.edge] = text

    def _bye(self, message: dict[str, Any]) -> None:
        self.last_error = StarlingError("offline", f"the server says bye: {message.get('code')}: {message.get('reason')}", message)
        self._verdicts.pop(self.edge, None)
        self.log("info", str(self.last_error))
        self._leave(message.get("retry_after_ms") or 0)

    def _leave(self, retry_after: float) -> None:
        """Ends the connection, and does not use this edge for at least so many milliseconds."""
        self._judge_edge()
        self._edges.failed(self.edge, self.now(), retry_after)
        self._port.hang_up()
        self._disconnected()

    def dropped(self, reason: str, code: str = "offline", is_final: bool = False) -> None:
        """The connection, or the attempt at one, ended without our doing.

        :param is_final: whether it would end in the same way again
        """
        if self._phase in ("idle", "closed"):
            return
        error = StarlingError(code, reason)
        if is_final:
            self._give_up_on(error)
        else:
            self.last_error = error
            self._verdicts.pop(self.edge, None)
            if self._phase == "open":
                self.log("info", f"the connection to {self.edge} ended: {reason}")
            else:
                self._tell("warning", f"cannot connect to {self.edge}: {reason}")
        self._judge_edge()
        self._edges.failed(self.edge, self.now(), self._options.refused_delay if is_final else 0)
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
        self._asked.clear()
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
        # One that answers pings may still take nobody in.
        if better is None or better in self._verdicts:
            return
        self.log("info", f"{better} is nearer than {self.edge}")
        self._port.hang_up()
        self._forget_connection()
        self.edge = better
        self._is_mute = False
        self._set_phase("dialing")
        self._port.dial(better)

    # Time.

    def deadline(self) -> float:
        """When ``tick`` is to be called next."""
        times = [self.holds.deadline(), self._requests.deadline()]
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
        self._requests.tick(now, self._offline)
        if self._phase == "idle":
            if self._edges.next_attempt() <= now:
                self._dial()
        elif self._phase != "open":
            if now >= self._phase_since + _CONNECT_TIMEOUT:
                self._give_up("a WebSocket is there, but it says nothing" if self._is_mute else "it did not answer in time")
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
        self._verdicts.clear()
        if self._phase == "idle":
            self._edges.forgive()
            self._dial()

    def _give_up(self, reason: str, code: str = "offline") -> None:
        self._port.hang_up()
        self.dropped(reason, code)

    def _ping(self) -> None:
        self._liveness.pinged(self.now())
        self.send('{"type":"ping","id":"ping"}', "ping")

    def _pong(self, server_time: float | None) -> None:
        self._answered("ping")
        pong = self._liveness.ponged(self.now())
        if pong is not None and server_time is not None:
            round_trip, is_good = pong
            self._edges.measured(self.edge, round_trip)
            if is_good:
                self.knowledge.set_time(server_time + round_trip / 2)
        self._port.wake()

    def send(self, text: str, id: Any) -> None:
        """
        :param id: what the server answers it under
        """
        self._asked.append(id)
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
        self.send(json.dumps(subscription.request()), subscription.id)

    def unsubscribe(self, subscription: SubscriptionState) -> None:
        if not self.subscriptions.remove(subscription):
            return
        subscription.end(None)
        if self._phase in ("greeting", "open"):
            self.send(json.dumps({"type": "unsubscribe", "id": subscription.id}), subscription.id)
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

    def request(self, message: dict[str, Any], take: Take = lambda answer: answer, timeout: float = _TIMEOUT) -> asyncio.Future[Any]:
        """Asks the server, behind the writes that were made before it. Waits for a connection that is being made.

        :param take: makes the result of the answer, before anything else comes from the server
        :param timeout: how long it may wait to be sent, in milliseconds
        :raises StarlingError: ``offline`` where there is no connection, and none being made
        """
        if self._phase == "closed":
            return refused(StarlingError("closed", "the client was closed"))
        if self._phase == "idle":
            return refused(self._offline(message["type"]))
        try:
            text = json.dumps(message, ensure_ascii=False, allow_nan=False)
            text.encode()
            check_time_to_live(message.get("ttl"))
            check_depth(f"the {message['type']}", text, MAXIMUM_DEPTH)
            self.check_size(text, message["type"])
        except (TypeError, ValueError, RecursionError) as error:
            return refused(StarlingError("bad_value", f"the {message['type']} has no JSON: {error}"))
        except StarlingError as error:
            return refused(error)
        answer = self._requests.ask(message, take, self.outbox.last_sequence, self.now() + timeout)
        self._writer.flush()
        self._port.wake()
        return answer

    def withdraw(self, request: asyncio.Future[Any]) -> bool:
        """Takes back a request that was not sent yet.

        :return: whether it was not
        """
        return self._requests.withdraw(request)

    @property
    def has_questions(self) -> bool:
        return self._requests.has_questions

    def send_questions(self, before: float) -> None:
        """Sends what was asked before the write with this sequence."""
        self._requests.send(before, self.send)

    def _offline(self, kind: str) -> StarlingError:
        why = f": {self.last_error}" if self.last_error else ""
        code = self.last_error.code if self.last_error else "offline"
        where = ", ".join(self._options.urls)
        if self._phase == "open":
            return StarlingError("timeout", f"{kind} waited too long for the writes before it")
        details = {"reason": code}
        return StarlingError("offline", f"there is no connection to {where}{why}; {kind} is not queued", details)

    def on_verdict(self, reject: Callable[[StarlingError], None]) -> Callable[[], None]:
        """Calls back when to try again cannot help: with what the server has against the credentials, or why there is no server.

        :return: a function that ends it
        """
        self._waiting_for_verdict.append(reject)
        return lambda: self._waiting_for_verdict.remove(reject)

    @property
    def has_verdict(self) -> bool:
        """Whether to try again cannot help, whichever the edge."""
        return len(self._verdicts) == len(self._edges) and self._phase != "open"

    @property
    def is_paused(self) -> bool:
        return self._paused

    @property
    def has_unsettled(self) -> bool:
        """Whether something was made that has no outcome yet."""
        return len(self.outbox) > 0 or len(self._requests) > 0

    def why_not_live(self) -> str:
        """What keeps the replica from being live, as far as it is known."""
        if self._paused:
            return "it was disconnected by disconnect()"
        if self._phase in ("greeting", "open"):
            return f"{self.edge} has not sent all that is subscribed to yet"
        return f"{self.edge} {'speaks WebSocket, but says nothing' if self._is_mute else 'has not answered yet'}"

    @property
    def is_durable(self) -> bool:
        """Whether what waits in the outbox outlives this client."""
        return getattr(self._options.outbox, "is_durable", True)

    def abandoned(self) -> None:
        """The event loop, or its thread, ends under the client, and nobody closed it."""
        if self.outbox and not self.is_durable:
            text = f"the event loop ended with {len(self.outbox)} writes that the server has not acknowledged"
            self.log("warning", f"{text}; close the client, or use async with")

    def close(self) -> None:
        if self._phase == "closed":
            return
        if self._phase != "idle":
            self._port.hang_up()
        self.holds.close()
        self._forget_connection()
        self.subscriptions.close()
        self._requests.give_up(StarlingError("closed", "the client was closed"))
        self._writer.close()
        self._set_phase("closed")
