import { Outbox, WriteRecord } from "./index.js";

/** An outbox in a file, for programs: what `broadcast` returned from survives the process; with `fsync`, the machine too. */
export class FileOutbox implements Outbox {
  constructor(path: string, options?: { fsync?: boolean });
  load(): WriteRecord[];
  put(record: WriteRecord): void;
  remove(version: string): void;
  close(): void;
}
