/** What went wrong: `code` is one of protocol/README.md, section Errors, or one of the client's own (README.md, Errors). */
export class StarlingError extends Error {
  /**
   * @param {string} code
   * @param {string} message says what was wrong, where, and what to do
   * @param {object} [details] further fields of the server's answer
   */
  constructor(code, message, details = {}) {
    super(message);
    this.name = "StarlingError";
    this.code = code;
    this.details = details;
  }
}
