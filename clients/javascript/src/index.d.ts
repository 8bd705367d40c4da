/** What a subscriber is told, and what the replica holds: a register as it is to be seen now. */
export interface Update<Value = unknown> {
  key: string;
  /** undefined for a deleted one. */
  value: Value | undefined;
  deleted: boolean;
  /** Absent where the register is gone without anything in its place. */
  version?: string;
  /** The version's time, in milliseconds since 1970. */
  timestamp?: number;
  /** Who wrote it. */
  agent?: string;
  /** Its place in the order of changes of one database; absent while it is pending. */
  revision?: number;
  /** When it expires, in milliseconds since 1970. */
  expiresAt?: number;
  metadata?: Record<string, unknown>;
  session?: string;
  /** Why it is as it is, where that is not plainly a write. */
  cause?: "expired" | "disconnected" | "refused" | "resync";
  /** Whether it is this client's own write, and still on its way. */
  isPending: boolean;
  /** Whether it was broadcast without being stored. */
  isTransient?: boolean;
}

/** What became of a write. */
export interface Outcome {
  /** `superseded`: something greater is in place; `condition`: `expect` was not met. */
  status: "applied" | "superseded" | "condition";
  applied: boolean;
  key: string;
  version?: string;
  revision?: number;
  durable?: boolean;
  /** When it expires, in milliseconds since 1970, as the server says; absent: not by itself. */
  expiresAt?: number;
  /** Whether the server has judged a condition: `expect`, or a fence. */
  judged?: boolean;
  /** For `superseded`: the register that stays in place, as it came from the server. */
  winner?: Record<string, unknown>;
  /** For `superseded`: the version of this client's own write that took the place. */
  by?: string;
  /** For `condition`: the register in place, or null. */
  current?: Record<string, unknown> | null;
}

export type State = "connecting" | "catching-up" | "live" | "offline" | "closed";

/** What went wrong: a code of the protocol, or one of the client's own (README.md, Errors). */
export class StarlingError extends Error {
  constructor(code: string, message: string, details?: Record<string, unknown>);
  readonly code: string;
  readonly details: Record<string, unknown>;
}

/** A pattern over keys, as the server has it. */
export class Pattern {
  /** @throws {StarlingError} `bad_pattern` */
  constructor(text: string);
  readonly text: string;
  /** The one key that it matches; undefined where there may be others. */
  readonly exact: string | undefined;
  matches(key: string): boolean;
}

/** A write as an outbox keeps it; value and metadata are texts of JSON, no value deletes. */
export interface WriteRecord {
  key: string;
  version: string;
  value?: string;
  ttl?: number;
  metadata?: string;
  session?: string;
}

/** Keeps the writes that the server has not answered yet. */
export interface Outbox {
  load(): WriteRecord[] | Promise<WriteRecord[]>;
  put(record: WriteRecord): void;
  remove(version: string): void;
  close(): void | Promise<void>;
  /** Whether what it holds outlasts the process; true where it does not say. */
  readonly isDurable?: boolean;
}

/** Keeps nothing over a restart. */
export class MemoryOutbox implements Outbox {
  load(): WriteRecord[];
  put(record: WriteRecord): void;
  remove(version: string): void;
  close(): void;
}

/** An outbox in IndexedDB, for pages. */
export class IndexedDBOutbox implements Outbox {
  /** @param name of the database; one page at a time uses a name */
  constructor(name?: string);
  load(): Promise<WriteRecord[]>;
  put(record: WriteRecord): void;
  remove(version: string): void;
  /** Resolves when everything written so far is in the database. */
  flushed(): Promise<void>;
  close(): Promise<void>;
}

/** README.md has the table. Times are in milliseconds. */
export interface Options {
  agent?: string;
  session?: string;
  token?: string | (() => string | Promise<string>);
  outbox?: Outbox;
  outboxLimit?: number;
  onRefused?: (write: { key: string; value: unknown; deleted: boolean; version: string }, error: StarlingError) => "restamp" | "drop";
  pingInterval?: number;
  pingTimeout?: number;
  probeInterval?: number;
  /** At least so long before a server that refused is tried again. */
  refusedDelay?: number;
  log?: (level: "debug" | "info" | "warn" | "error", message: string) => void;
  WebSocket?: unknown;
}

export interface DeleteOptions {
  metadata?: Record<string, unknown>;
  session?: string;
  /** Write only over this version, or, with null, only where there is nothing. Not queued. */
  expect?: string | null;
  /** Write only while this claim is in force. Not queued. */
  fence?: { key: string; token: number };
  /** Show it to who is subscribed now, and store nothing. Not queued. */
  transient?: boolean;
  /** The version to write, where it is another's register that is passed on. Not queued. */
  version?: string;
  /** How long what is not queued may wait for a connection that is being made, in milliseconds. */
  timeout?: number;
}

export interface WriteOptions extends DeleteOptions {
  /** Seconds to live. */
  ttl?: number;
}

/** What becomes of one key of a batch. */
export type BatchWrite =
  | { key: string; value: unknown; ttl?: number; metadata?: Record<string, unknown>; session?: string; expect?: string | null }
  | { key: string; delete: true; metadata?: Record<string, unknown>; session?: string; expect?: string | null }
  | { key: string; release: number };

/** What has to be in place for a batch: a version (null: absent), or a claim in force. */
export type BatchRequirement = { key: string; version: string | null } | { key: string; fence: number };

export interface BatchOptions {
  require?: BatchRequirement[];
  /** Names the batch, so that it can be sent again: at least 64 random bits. One is made up where it is not given. */
  op?: string;
  /** How long to wait for the answer, and for a connection that is being made, in milliseconds. */
  timeout?: number;
}

/** Why a batch was not applied: `write` or `require` is the index of what could not be met. */
export interface BatchFailure {
  write?: number;
  require?: number;
  key: string;
  reason: "condition" | "held" | "stale_fence" | "too_many_keys";
  /** The register in place, as the server sends it, or null; undefined where it may not be read. */
  current?: Record<string, unknown> | null;
}

/** What became of a batch: revisions are contiguous, and versions in the order of the writes; `judged`: how much was required and met. */
export type BatchOutcome = { applied: true; first: number; last: number; versions: string[]; judged: number } | { applied: false; failed: BatchFailure[] };

/** A subscription: call it to unsubscribe. With a callback it cannot be iterated over. */
export interface Subscription<Value = unknown> extends AsyncIterable<Update<Value>> {
  (): void;
  readonly pattern: string;
  /** Resolves when everything that there was at the beginning has come. */
  readonly synced: Promise<void>;
  get(key: string): Value | undefined;
  list(): Update<Value>[];
}

/** A claim that this client holds, renewed until it is released or lost. */
export interface Lease {
  readonly key: string;
  /** To be shown with fenced writes: `{ key: lease.key, token: lease.fence }`. */
  readonly fence: number;
  /** When it ends without a renewal, in milliseconds of the server's clock. */
  readonly expiresAt: number;
  readonly isHeld: boolean;
  /** Resolves with the reason when it is lost, with undefined when it is released. */
  readonly ended: Promise<string | undefined>;
  renew(options?: { value?: unknown; metadata?: Record<string, unknown>; ttl?: number }): Promise<void>;
  release(): Promise<void>;
}

/** A replica of a server: what matches the subscriptions, and this client's writes. */
export class Client {
  private constructor();
  readonly state: State;
  readonly agent: string;
  readonly edge: string;
  readonly edges: { url: string; roundTrip?: number; breaker: "closed" | "open" | "half-open" }[];
  onState(callback: (state: State) => unknown): () => void;
  /** Why there is no connection; undefined while there is one. */
  readonly lastError: StarlingError | undefined;
  live(options?: { timeout?: number }): Promise<void>;
  age(): number;
  subscribe<Value = unknown>(
    pattern: string,
    callback: ((update: Update<Value>) => unknown) | null | undefined,
    options?: { snapshot?: boolean; echo?: boolean },
  ): Subscription<Value>;
  subscribe<Value = unknown>(pattern: string, options?: { snapshot?: boolean; echo?: boolean }): Subscription<Value>;
  get<Value = unknown>(key: string): Value | undefined;
  entry<Value = unknown>(key: string): Update<Value> | undefined;
  list<Value = unknown>(pattern?: string): Update<Value>[];
  broadcast(key: string, value: unknown, options?: WriteOptions): Promise<Outcome>;
  delete(key: string, options?: DeleteOptions): Promise<Outcome>;
  fetch<Value = unknown>(key: string, options?: { timeout?: number }): Promise<Update<Value> | undefined>;
  fetchAll<Value = unknown>(pattern?: string, options?: { pageSize?: number; timeout?: number }): AsyncGenerator<Update<Value>>;
  /** Lets a key live longer: so many seconds from now, under the same version. Resolves to whether there is such a key. */
  touch(key: string, ttl: number, options?: { timeout?: number }): Promise<boolean>;
  /** Changes several keys in one commit, or none of them. Not queued. */
  batch(writes: BatchWrite[], options?: BatchOptions): Promise<BatchOutcome>;
  /** Asks what this client has no method for; resolves to the answer with all its fields. Not queued. */
  request(type: string, fields?: Record<string, unknown>, options?: { timeout?: number }): Promise<Record<string, any>>;
  /** What agents remember. */
  readonly memory: Memory;
  /** What is known. */
  readonly knowledge: Knowledge;
  /** Finds memories and knowledge by their words. */
  search(query: string, options?: SearchOptions): Promise<{ results: Record<string, any>[]; searched: Record<string, any>; complete: boolean; behind?: number }>;
  claim(
    key: string,
    options?: {
      ttl?: number;
      until?: "disconnect";
      value?: unknown;
      metadata?: Record<string, unknown>;
      renew?: boolean;
      timeout?: number;
    },
  ): Promise<Lease>;
  presence(key: string, value: unknown, options?: { metadata?: Record<string, unknown> }): () => Promise<void>;
  pendingWrites(): (Update & { outcome: Promise<Outcome> })[];
  /** Waits for the outcome of each write so far; rejects after `timeout` ms with why there is no connection, or `offline`. */
  drained(options?: { timeout?: number }): Promise<void>;
  disconnect(): void;
  reconnect(): void;
  /** Waits for what is not settled, for at most `timeout` ms (5,000). */
  close(options?: { timeout?: number }): Promise<void>;
}

/** Opens a local-first replica; resolves when the outbox has been read, and connects in the background. */
export function connect(urls: string | string[], options?: Options): Promise<Client>;

/** A task that was handed to this agent. */
export class Task<Input = any> {
  private constructor();
  /** As it was handed out. */
  readonly row: Record<string, any>;
  readonly id: string;
  /** To be shown with whatever is written for the task. */
  readonly fence: number;
  /** The key of its claim. */
  readonly claim: string;
  readonly input: Input | undefined;
  /** Whether somebody else has the task by now, or will. */
  readonly isLost: boolean;
  /** Is aborted when the task is lost. */
  readonly signal: AbortSignal;
  progress(value?: unknown): Promise<void>;
  complete(result?: unknown): Promise<void>;
  fail(error?: unknown, options?: { retry?: boolean }): Promise<void>;
  release(): Promise<void>;
  park(reason?: string): Promise<void>;
}

export interface SearchOptions {
  in?: ("memory" | "knowledge")[];
  agent?: string;
  pattern?: string;
  tags?: string[];
  limit?: number;
  order?: "relevance" | "seed";
  except_session?: string;
  timeout?: number;
}

export interface StoreOptions {
  /** Whose memory it is; this client's agent unless it is named. */
  agent?: string;
  /** In seconds. */
  ttl?: number;
  tags?: string[];
  /** It lives for `ttl` again when `retrieve` reads it. */
  refreshOnRead?: boolean;
  priority?: string;
  /** false: no search finds it. */
  index?: boolean;
  metadata?: Record<string, unknown>;
  session?: string;
  expect?: string | null;
  timeout?: number;
}

export interface Remembered {
  value: unknown;
  version: string;
  /** In seconds since 1970, as `createdAt`. */
  timestamp: number;
  createdAt?: number;
  tags: string[];
  metadata: Record<string, unknown>;
  expiresAt?: number;
  session?: string;
}

/** What agents remember. */
export class Memory {
  private constructor();
  store(name: string, value: unknown, options?: StoreOptions): Promise<Outcome>;
  retrieve(name: string, options?: { agent?: string; timeout?: number }): Promise<Remembered | undefined>;
  list(prefix?: string, options?: { agent?: string; timeout?: number }): Promise<(Remembered & { name: string })[]>;
  delete(name: string, options?: { agent?: string; expect?: string | null; timeout?: number }): Promise<Outcome>;
}

/** What is known, whoever said it. */
export class Knowledge {
  private constructor();
  add(
    topic: string,
    content: string,
    options?: { knowledge?: string; tags?: string[]; source?: string; confidence?: number; ttl?: number; supersedes?: string; timeout?: number },
  ): Promise<string>;
  get(knowledge: string, options?: { timeout?: number }): Promise<Record<string, any> | undefined>;
  delete(knowledge: string, options?: { expect?: string | null; timeout?: number }): Promise<Outcome>;
  list(options?: { topic?: string; tag?: string; timeout?: number }): Promise<Record<string, any>[]>;
}

/** A swarm of agents that share tasks. */
export class Swarm {
  constructor(client: Client, name: string);
  readonly name: string;
  request(type: string, fields?: Record<string, unknown>, options?: { timeout?: number }): Promise<Record<string, any>>;
  init(settings?: Record<string, unknown>): Promise<Record<string, any>>;
  join(fields?: Record<string, unknown>): Promise<Record<string, any>>;
  status(): Promise<Record<string, any>>;
  submit(tasks: Record<string, unknown>[], options?: { op?: string }): Promise<string[]>;
  next(options?: { wait?: number; lease?: number; capabilities?: string[] }): Promise<Task | undefined>;
  send(to: string | null, body: unknown, options?: { kind?: string; op?: string }): Promise<string>;
  /** Works on tasks until `signal` is aborted; what `work` returns is the result, what it throws is a failure. */
  work(
    work: (task: Task) => unknown,
    options?: { lease?: number; capabilities?: string[]; signal?: AbortSignal; wait?: number },
  ): Promise<void>;
}
