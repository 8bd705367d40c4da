import { StarlingError } from "./errors.js";

/** What the client asked and was not answered yet. Nothing of it outlasts the connection. */
export class Requests {
  #waiting = new Map();
  #next = 1;

  get size() {
    return this.#waiting.size;
  }

  /**
   * @param {(text: string) => void} send
   * @param {(answer: object) => unknown} take makes what the promise resolves to, at once: before anything else comes from the server
   */
  ask(message, send, take) {
    const id = `r${this.#next++}`;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, take, type: message.type });
      send(JSON.stringify({ ...message, id }));
    });
  }

  /** @returns whether the id is one of ours */
  answer(id, message) {
    const request = this.#waiting.get(id);
    if (request === undefined) return false;
    this.#waiting.delete(id);
    if (message.type === "error") {
      request.reject(new StarlingError(message.code, message.message, message));
      return true;
    }
    try {
      request.resolve(request.take(message));
    } catch (error) {
      request.reject(error);
    }
    return true;
  }

  disconnected() {
    for (const { reject, type } of this.#waiting.values()) {
      const lost = `the connection was lost before the answer to ${type}`;
      reject(
        type === "get" || type === "list"
          ? new StarlingError("offline", lost)
          : new StarlingError("outcome_unknown", `${lost}; it may have been carried out`),
      );
    }
    this.#waiting.clear();
  }
}
