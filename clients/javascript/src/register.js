import { compareText, rawField } from "./text.js";

/**
 * A register as a replica holds it: a key, a JSON value and a version (protocol/README.md, Registers). It keeps the frame that
 * it came in, since the merge rule compares the bytes of values, which parsing loses; they are looked up when a tie asks for them.
 */
export class Register {
  key;
  version;
  value;
  deleted = false;
  expiresAt;
  metadata;
  session;
  cause;
  revision;
  /** Whether it is a write of this client's outbox. */
  isOwn = false;
  #frame;
  #texts;

  /** From an `update`, a `register`, or the `winner` of an ack. @param {string} frame the JSON that the fields were parsed from */
  static fromWire(fields, frame, key = fields.key) {
    const register = new Register();
    register.key = key;
    register.version = fields.version;
    register.deleted = fields.deleted === true;
    register.value = register.deleted ? undefined : fields.value;
    register.expiresAt = fields.expires_at;
    register.metadata = fields.metadata;
    register.session = fields.session;
    register.cause = fields.cause;
    register.revision = fields.revision;
    register.#frame = frame;
    return register;
  }

  /** From texts of JSON, such as an outbox holds. */
  static fromTexts({ key, version, value, metadata, session, expiresAt }) {
    const register = new Register();
    register.key = key;
    register.version = version;
    register.deleted = value === undefined;
    register.value = value === undefined ? undefined : JSON.parse(value);
    register.metadata = metadata === undefined ? undefined : JSON.parse(metadata);
    register.session = session;
    register.expiresAt = expiresAt;
    register.#texts = { value, metadata };
    return register;
  }

  #text(name) {
    if (this.#texts === undefined) {
      this.#texts = { value: rawField(this.#frame, "value"), metadata: rawField(this.#frame, "metadata") };
      this.#frame = undefined;
    }
    return this.#texts[name];
  }

  /**
   * The merge rule: the greater register wins. Registers that compare equal are duplicates.
   *
   * @returns {number} less than, equal to, or greater than 0
   */
  static compare(a, b) {
    if (a === b) return 0;
    return (
      compareText(a.version, b.version) ||
      compareExpiry(a.expiresAt, b.expiresAt) ||
      Number(a.deleted) - Number(b.deleted) ||
      (a.deleted ? 0 : compareText(a.#text("value"), b.#text("value"))) ||
      compareOptional(a.metadata && a.#text("metadata"), b.metadata && b.#text("metadata")) ||
      compareOptional(a.session, b.session)
    );
  }

  /** Whether reads see it at a time of the server's wall clock. */
  isVisible(serverNow) {
    return !this.deleted && (this.expiresAt === undefined || this.expiresAt > serverNow);
  }
}

/** The later expiry is greater; none is the latest. */
function compareExpiry(a, b) {
  if (a === b) return 0;
  return (a ?? Infinity) - (b ?? Infinity);
}

function compareOptional(a, b) {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  return compareText(a, b);
}
