/**
 * An outbox in IndexedDB, for pages that are closed or lose power before the server answered. Writes of one turn of the event loop go
 * into one transaction; `flushed` says when they are in. One page at a time uses a name; others take one of their own.
 */
export class IndexedDBOutbox {
  #name;
  #database;
  #changes = [];
  #flushing = Promise.resolve();

  /** @param {string} [name] of the database */
  constructor(name = "starling-outbox") {
    this.#name = name;
  }

  async load() {
    const opening = indexedDB.open(this.#name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("writes", { keyPath: "version" });
    this.#database = await done(opening);
    return done(this.#database.transaction("writes").objectStore("writes").getAll());
  }

  put(record) {
    this.#change((store) => store.put(record));
  }

  remove(version) {
    this.#change((store) => store.delete(version));
  }

  #change(change) {
    this.#changes.push(change);
    if (this.#changes.length > 1) return;
    this.#flushing = this.#flushing.catch(() => {}).then(() => {
      const changes = this.#changes;
      this.#changes = [];
      const transaction = this.#database.transaction("writes", "readwrite", { durability: "strict" });
      for (const change of changes) change(transaction.objectStore("writes"));
      return new Promise((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error);
      });
    });
    // Whoever waits for `flushed` is told; nobody else can do anything about it.
    this.#flushing.catch(() => {});
  }

  /** Resolves when everything written so far is in the database. */
  flushed() {
    return this.#flushing;
  }

  async close() {
    await this.#flushing.catch(() => {});
    this.#database?.close();
  }
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
