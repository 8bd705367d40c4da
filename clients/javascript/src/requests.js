import { StarlingError } from "./errors.js";

/** What the client asked and was not answered yet. Nothing of it outlasts the connection. */
export class Requests {
  #waiting = new Map();
  #next = 1;

  /** @param {(text: string) => void} send */
  ask(message, send) {
    const id = `r${this.#next++}`;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, type: message.type });
      send(JSON.stringify({ ...message, id }));
    });
  }

  /** @returns whether the id is one of ours */
  answer(id, message) {
    const request = this.#waiting.get(id);
    if (request === undefined) return false;
    this.#waiting.delete(id);
    if (message.type === "error") request.reject(new StarlingError(message.code, message.message, message));
    else request.resolve(message);
    return true;
  }

  disconnected() {
    for (const { reject, type } of this.#waiting.values()) {
      const changes = !["get", "list", "digest"].includes(type);
      reject(
        changes
          ? new StarlingError("outcome_unknown", `the connection was lost before the answer to ${type}; it may have been carried out`)
          : new StarlingError("offline", `the connection was lost before the answer to ${type}`),
      );
    }
    this.#waiting.clear();
  }
}
