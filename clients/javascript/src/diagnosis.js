/** What a server that is no WebSocket's answers a request with, and what to do about it. */
const STATUSES = {
  400: ["bad_handshake", "the server does not take the handshake"],
  401: ["unauthorized", "the server does not take these credentials"],
  403: ["forbidden", "the server does not let this client in (access rules, or the page's origin)"],
  404: ["not_found", "there is no Starling server at this path; it is usually /sync"],
  405: ["not_found", "there is no Starling server at this path; it is usually /sync"],
  421: ["forbidden", "the server is for its own machine only"],
};
/** The answer of a Starling server to a request that is no handshake. */
const IS_THERE = 426;

const CODES = {
  ECONNREFUSED: ["offline", "nobody listens there; is the server running?", false],
  ENOTFOUND: ["offline", "there is no such host", false],
  EAI_AGAIN: ["offline", "there is no such host", false],
  ERR_SSL_WRONG_VERSION_NUMBER: ["bad_certificate", "the server does not speak TLS; is it ws:// in place of wss://?", true],
  ERR_SSL_PACKET_LENGTH_TOO_LONG: ["bad_certificate", "the server does not speak TLS; is it ws:// in place of wss://?", true],
};
const TIMEOUT = 3_000;

/**
 * Finds out why no WebSocket could be opened: a WebSocket itself does not say. Asks for the same address by HTTP.
 *
 * @returns {Promise<{reason: string, code: string, isFinal: boolean} | undefined>} `isFinal`: to try again cannot help; undefined: it
 *   cannot be found out, as in a page of another origin
 */
export async function diagnose(url) {
  try {
    const response = await fetch(url.replace(/^ws/, "http"), { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT) });
    const text = (await response.text()).split("\n")[0].slice(0, 200);
    if (response.status === IS_THERE && /Starling|WebSocket/i.test(text)) return undefined;
    const [code, reason] = STATUSES[response.status] ?? [undefined, undefined];
    if (code === undefined) {
      return { code: "offline", reason: `the server answered ${response.status}, and no WebSocket`, isFinal: response.ok };
    }
    return { code, reason: `${reason} (${response.status}${text && `: ${text}`})`, isFinal: true };
  } catch (error) {
    const cause = error.cause?.code ?? error.code ?? "";
    if (CODES[cause]) {
      const [code, reason, isFinal] = CODES[cause];
      return { code, reason, isFinal };
    }
    if (/CERT|SELF_SIGNED|ISSUER|ALTNAME/.test(cause)) {
      return { code: "bad_certificate", reason: `the server's certificate is not one to trust (${cause})`, isFinal: true };
    }
    return cause ? { code: "offline", reason: `it cannot be reached (${cause})`, isFinal: false } : undefined;
  }
}
