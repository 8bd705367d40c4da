import type { Client, Options, Outcome, Update } from "./index.js";

export class TursoMemoryAdapter {
  constructor(client: Client, options?: { sessionId?: string });
  store(
    key: string,
    value: unknown,
    options?: { agentId?: string; sessionId?: string; metadata?: Record<string, unknown>; ttl?: number | null; priority?: string },
  ): Promise<string>;
  retrieve(key: string, options?: { agentId?: string }): Promise<{ value: unknown; metadata: Record<string, unknown>; timestamp: number } | null>;
  search(query: string, options?: { limit?: number }): Promise<Record<string, any>[]>;
  syncToEdges(): Promise<void>;
  getNearestEdge(): string;
}

export class TursoSwarmCoordinator {
  constructor(
    client: Client,
    options?: {
      spawnAgents?: (config: Record<string, any>) => { id: string; role?: string; capabilities?: string[] }[] | Promise<{ id: string }[]>;
      analyzeTask?: (task: Record<string, any>) => any;
      distributeWork?: (analysis: any, task: Record<string, any>) => Record<string, any>[] | Promise<Record<string, any>[]>;
      connectAs?: (agentId: string) => Promise<Client>;
    },
  );
  readonly swarmId: string | undefined;
  initializeSwarm(config?: Record<string, any>): Promise<{ swarmId: string; agents: string[]; topology: string }>;
  registerAgent(agent: { id: string; role?: string; capabilities?: string[] }): Promise<void>;
  orchestrateTask(task: { id: string } & Record<string, any>): Promise<Monitor>;
  coordinateAgents(): Promise<void>;
  getActiveAgents(): Promise<{ id: string; role: string | null; tasks: string[] }[]>;
  checkAgentStatus(agentId: string): Promise<"working" | "idle" | "absent">;
  getAgentTask(agentId: string): Promise<Record<string, any> | null>;
  checkDependencies(task: { dependencies?: string | string[] }): Promise<boolean>;
  parkTask(task: { task_id: string; fence: number }, reason?: string): Promise<void>;
  updateCoordination(agentId: string, status: string): Promise<unknown>;
  monitorExecution(assignments: { id?: string; taskId?: string }[]): Monitor;
  close(): Promise<void>;
}

export interface Monitor {
  on(event: "progress", callback: (progress: Record<string, any>) => void): Monitor;
  stop(): void;
}

export class TursoRealtimeSync {
  constructor(url: string, token?: string, options?: Options);
  subscribe(pattern: string, callback: (update: Update) => void): Promise<() => void>;
  broadcast(key: string, value: unknown): Promise<Outcome>;
  close(): Promise<void>;
}

export type OptimizedQuery = { key: string; ttl?: number } | { pattern: string; ttl?: number } | ({ search: string; limit?: number } & Record<string, any>);

export class TursoQueryOptimizer {
  constructor(client: Client, options?: { maximum?: number });
  optimizedQuery(query: OptimizedQuery): Promise<any>;
  executeWithFallback(query: { search: string; limit?: number } & Record<string, any>): Promise<Record<string, any>[]>;
  selectOptimalEdge(): string;
  measureEdgeLatencies(): Map<string, number | undefined>;
  close(): void;
}

export interface HookContext {
  sessionId: string;
  agentId?: string;
  taskId?: string;
  taskType?: string;
  file?: string;
  changes?: unknown[];
  previousContext?: { key: string; value: unknown }[];
  [name: string]: unknown;
}

export function createHooks(
  client: Client,
  options?: { onProblem?: (hook: string, problem: unknown) => void },
): Record<"pre-task" | "post-edit" | "post-task" | "session-end", (context: HookContext) => Promise<void>>;
