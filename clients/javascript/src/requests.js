import { StarlingError } from "./errors.js";

/**
 * What the client asked and was not answered yet. What was sent does not outlast the connection; what waits for one, or for the writes
 * before it, does for as long as it may.
 */
export class Requests {
  /** What is not sent yet, in the order it was asked. */
  #questions = [];
  #waiting = new Map();
  #next = 1;

  get size() {
    return this.#waiting.size + this.#questions.length;
  }

  get hasQuestions() {
    return this.#questions.length > 0;
  }

  /**
   * @param {(answer: object) => unknown} take makes what the promise resolves to, at once: before anything else comes from the server
   * @param {number} behind the sequence of the last write before it
   * @param {number} deadline when it is given up, unless it was sent
   */
  ask(message, take, behind, deadline) {
    const id = `r${this.#next++}`;
    return new Promise((resolve, reject) => {
      this.#questions.push({ id, text: JSON.stringify({ ...message, id }), resolve, reject, take, type: message.type, behind, deadline });
    });
  }

  /** Sends what does not wait for a write with this sequence, or a later one. @param {(text: string, id: string) => void} send */
  send(before, send) {
    while (this.#questions.length > 0 && this.#questions[0].behind < before) {
      const question = this.#questions.shift();
      this.#waiting.set(question.id, question);
      send(question.text, question.id);
    }
  }

  deadline() {
    return this.#questions.reduce((earliest, { deadline }) => Math.min(earliest, deadline), Infinity);
  }

  /** Gives up what has waited for too long. @param {(type: string) => StarlingError} reason what to say of it */
  tick(now, reason) {
    if (this.deadline() > now) return;
    const late = this.#questions.filter(({ deadline }) => deadline <= now);
    this.#questions = this.#questions.filter(({ deadline }) => deadline > now);
    for (const { reject, type } of late) reject(reason(type));
  }

  /** There will be no connection to send it on. */
  giveUp(error) {
    const questions = this.#questions;
    this.#questions = [];
    for (const { reject } of questions) reject(error);
  }

  /** Whether something was sent with this id that is not answered. */
  has(id) {
    return this.#waiting.has(id);
  }

  /** @returns whether the id is one of ours */
  fail(id, error) {
    const request = this.#waiting.get(id);
    if (request === undefined) return false;
    this.#waiting.delete(id);
    request.reject(error);
    return true;
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
