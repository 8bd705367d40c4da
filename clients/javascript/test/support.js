import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** The shared vectors of protocol/vectors. */
export const vectors = (name) => JSON.parse(readFileSync(join(root, "protocol/vectors", `${name}.json`), "utf8"));

export const serverBinary = process.env.STARLING_BINARY ?? join(root, ".build/debug/starling");
/** Who names a server wants it to be there. */
export const hasServer = process.env.STARLING_BINARY !== undefined || existsSync(serverBinary);

/** Node 22 has a WebSocket; for older ones, Debian's. */
export const WebSocket = globalThis.WebSocket ?? createRequire("/usr/share/nodejs/")("ws");

export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A real server on a fresh database, which can be killed and started again on the same port. */
export class Server {
  static async start(options = []) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "starling-"));
    server.port = await freePort();
    server.options = options;
    await server.run();
    return server;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/sync`;
  }

  run() {
    this.process = spawn(serverBinary, ["serve", "--port", `${this.port}`, "--data", join(this.folder, "data.db"), ...this.options]);
    this.exited = new Promise((resolve) => this.process.on("exit", resolve));
    return new Promise((resolve, reject) => {
      let output = "";
      const listen = (data) => {
        output += data;
        if (output.includes("ready")) resolve();
      };
      this.process.stdout.on("data", listen);
      this.process.stderr.on("data", listen);
      this.process.on("exit", () => reject(new Error(`the server ended: ${output}`)));
    });
  }

  async kill(signal = "SIGKILL") {
    this.process.kill(signal);
    await this.exited;
  }

  async stop() {
    await this.kill();
    rmSync(this.folder, { recursive: true });
  }
}

/** Waits until a condition holds, looking at it again whenever the event loop has turned. */
export async function until(condition, what, milliseconds = 20_000) {
  const end = Date.now() + milliseconds;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
