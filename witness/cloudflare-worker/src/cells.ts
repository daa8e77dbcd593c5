// The cells of one prefix, in one Durable Object with SQLite.
//
// Cloudflare runs at most one instance of an object, one event at a time, and shows no answer before
// what it rests on is durable (the output gate). A method without `await` is therefore atomic and its
// answer survives a crash. None of the methods below may get one.

import { DurableObject } from "cloudflare:workers";

export interface Cell {
  tag: string;
  bytes: ArrayBuffer;
}

/** The decision on a change: its new tag, or what stands in its way. */
export type Put = { written: string } | { held: Cell | null };

/** Keys of one answer to a list; the caller asks on after the last one. */
const PAGE = 1000;

export class Cells extends DurableObject {
  private readonly sql: any;

  constructor(ctx: any, env: any) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    // Keys are bytes: text with a NUL in it means different things to different functions of SQLite.
    this.sql.exec(
      "CREATE TABLE IF NOT EXISTS cells (key BLOB PRIMARY KEY, tag TEXT NOT NULL, bytes BLOB NOT NULL) WITHOUT ROWID",
    );
  }

  get(key: string): Cell | null {
    const rows = this.sql.exec("SELECT tag, bytes FROM cells WHERE key = ?", encoded(key)).toArray();
    return rows.length === 0 ? null : { tag: rows[0].tag, bytes: rows[0].bytes };
  }

  put(key: string, expected: string | null, bytes: ArrayBuffer): Put {
    const held = this.get(key);
    if ((held?.tag ?? null) !== expected) {
      return { held };
    }
    // Random, so that no tag comes back after the object lost what it held.
    const tag = crypto.randomUUID();
    this.sql.exec("INSERT OR REPLACE INTO cells (key, tag, bytes) VALUES (?, ?, ?)", encoded(key), tag, bytes);
    return { written: tag };
  }

  /** Whether the cell is gone, by this call or an earlier one. */
  remove(key: string, expected: string): boolean {
    const held = this.get(key);
    if (held !== null && held.tag !== expected) {
      return false;
    }
    this.sql.exec("DELETE FROM cells WHERE key = ?", encoded(key));
    return true;
  }

  /** Keys that start with `prefix` and come after `after`, in the order of their bytes. */
  list(prefix: string, after: string): string[] {
    const keys: string[] = [];
    const query = "SELECT key FROM cells WHERE key >= ? AND key > ? ORDER BY key";
    for (const row of this.sql.exec(query, encoded(prefix), encoded(after))) {
      const key = new TextDecoder().decode(row.key);
      if (!key.startsWith(prefix) || keys.length === PAGE) {
        break;
      }
      keys.push(key);
    }
    return keys;
  }
}

function encoded(text: string): ArrayBuffer {
  const bytes = new TextEncoder().encode(text);
  return bytes.buffer as ArrayBuffer;
}
