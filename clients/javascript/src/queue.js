/** First in, first out, at constant cost. (A `Map` is none: taking its first entry walks over all that were taken before.) */
export class Queue {
  #items = [];
  #head = 0;

  get length() {
    return this.#items.length - this.#head;
  }

  push(item) {
    this.#items.push(item);
  }

  /** The oldest item, which stays; undefined if there is none. */
  get first() {
    return this.#items[this.#head];
  }

  /** The oldest item; undefined if there is none. */
  shift() {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes an item out that is not the oldest. */
  remove(item) {
    const place = this.#items.indexOf(item, this.#head);
    if (place >= 0) this.#items.splice(place, 1);
  }

  clear() {
    this.#items = [];
    this.#head = 0;
  }
}
