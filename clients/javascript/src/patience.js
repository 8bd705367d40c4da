/** What is refused sooner was refused without asking anybody, in milliseconds. */
const AT_ONCE = 2;
/** The longest time that a timer takes: beyond it, one fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * A promise that is not refused before the event loop has turned: who tries again and again would else keep it from ever turning, and
 * so the connection from being made.
 */
export async function inTurn(promise) {
  const askedAt = performance.now();
  try {
    return await promise;
  } catch (error) {
    if (performance.now() - askedAt < AT_ONCE) await new Promise((resolve) => setTimeout(resolve));
    throw error;
  }
}

/** What becomes of a promise, or, after so many milliseconds, an error; the promise goes on. @param {() => Error} error */
export async function before(milliseconds, promise, error) {
  if (milliseconds === Infinity) return promise;
  let timer;
  const late = new Promise((_resolve, reject) => (timer = after(milliseconds, () => reject(error()))));
  // Whoever is not there any more when it is refused is not stopped by it.
  promise.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Lets so many milliseconds pass. */
export function pause(milliseconds) {
  return new Promise((resolve) => after(milliseconds, resolve));
}

/** A timer, however long. */
export function after(milliseconds, callback) {
  return setTimeout(callback, Math.min(milliseconds, LONGEST_TIMER));
}
