// A store of cells for Continuum's witness: POST /v1/<prefix> with one JSON request, one JSON answer.
//
//   {"op":"get","key":K}                            -> {"cell":null|{"tag":T,"bytes":B}}
//   {"op":"put","key":K,"expected":null|T,"bytes":B} -> {"written":T}, or 409 and {"code":"conflict","cell":...}
//   {"op":"delete","key":K,"expected":T}            -> {"gone":true|false}
//   {"op":"list","prefix":P,"after":K}              -> {"keys":[...]}; ask on after the last, until there is none
//
// Bytes are base64. Errors are {"code":C,"message":...}; C is `unauthorised` or `misconfigured` where
// nothing was carried out, and `failed` where that is not known.

import { Cells, Cell } from "./cells";
import { Refusal } from "./refusal";
import { authenticate, checkWrite, Grant } from "./rights";

export { Cells };

interface Env {
  CELLS: any;
  TOKENS: unknown;
  LOCATION?: string;
}

const KEY_BYTES_MAX = 320;
const CELL_BYTES_MAX = 65 * 1024;
/** The largest cell as base64, and its key with every character escaped. */
const BODY_BYTES_MAX = 128 * 1024;
const TAG_CHARACTERS_MAX = 64;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    try {
      return await answer(request, env);
    } catch (error) {
      if (error instanceof Refusal) {
        return json(error.status, { code: error.code, message: error.message });
      }
      // The object may have carried the change out before its answer was lost. Never asked twice.
      console.error(error);
      return json(503, { code: "failed", message: "the object did not answer" });
    }
  },
};

async function answer(request: Request, env: Env): Promise<Response> {
  const grant = await authenticate(request, env.TOKENS);
  const prefix = /^\/v1\/([A-Za-z0-9_-]{1,60})$/.exec(new URL(request.url).pathname)?.[1];
  if (prefix === undefined || request.method !== "POST") {
    throw new Refusal(404, "misconfigured", "cells are at POST /v1/<prefix>");
  }
  const call = await body(request);
  const hint = env.LOCATION ? { locationHint: env.LOCATION } : undefined;
  const cells = env.CELLS.get(env.CELLS.idFromName(prefix), hint);
  switch (call.op) {
    case "get":
      return json(200, { cell: shown(await cells.get(key(call.key))) });
    case "put":
      return put(cells, grant, call);
    case "delete": {
      const name = key(call.key);
      checkWrite(grant, name);
      return json(200, { gone: await cells.remove(name, tag(call.expected)) });
    }
    case "list":
      return json(200, { keys: await cells.list(text(call.prefix), text(call.after)) });
    default:
      throw wrong("op is none of get, put, delete, list");
  }
}

async function put(cells: any, grant: Grant, call: any): Promise<Response> {
  const name = key(call.key);
  const expected = call.expected === null ? null : tag(call.expected);
  checkWrite(grant, name);
  const done = await cells.put(name, expected, content(call.bytes));
  if ("written" in done) {
    return json(200, { written: done.written });
  }
  return json(409, { code: "conflict", message: "the cell is not at this tag", cell: shown(done.held) });
}

/** Reads no more than the largest request, whatever its headers say. */
async function body(request: Request): Promise<any> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of (request.body ?? []) as any) {
    length += part.byteLength;
    if (length > BODY_BYTES_MAX) {
      throw new Refusal(413, "misconfigured", `a request has at most ${BODY_BYTES_MAX} bytes`);
    }
    parts.push(part);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  try {
    const call = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(whole));
    if (typeof call === "object" && call !== null) {
      return call;
    }
  } catch {
    // Said below.
  }
  throw wrong("the request is not a JSON object");
}

function key(value: unknown): string {
  const length = new TextEncoder().encode(text(value)).byteLength;
  if (length === 0 || length > KEY_BYTES_MAX) {
    throw wrong(`the key has ${length} bytes; 1 to ${KEY_BYTES_MAX} are accepted`);
  }
  return value as string;
}

/** Text that has one encoding only, so that two keys never become one. */
function text(value: any): string {
  if (typeof value !== "string" || !value.isWellFormed()) {
    throw wrong("a text is missing or not Unicode");
  }
  return value;
}

function tag(value: unknown): string {
  if (typeof value !== "string" || value.length > TAG_CHARACTERS_MAX) {
    throw wrong("a tag is missing or too long");
  }
  return value;
}

function content(value: unknown): ArrayBuffer {
  let binary: string;
  try {
    binary = atob(text(value));
  } catch {
    throw wrong("the bytes are not base64");
  }
  if (binary.length > CELL_BYTES_MAX) {
    throw wrong(`the cell has ${binary.length} bytes; at most ${CELL_BYTES_MAX} are accepted`);
  }
  return Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer as ArrayBuffer;
}

function shown(cell: Cell | null): { tag: string; bytes: string } | null {
  if (cell === null) {
    return null;
  }
  let binary = "";
  for (const byte of new Uint8Array(cell.bytes)) {
    binary += String.fromCharCode(byte);
  }
  return { tag: cell.tag, bytes: btoa(binary) };
}

function wrong(message: string): Refusal {
  return new Refusal(400, "misconfigured", message);
}

function json(status: number, value: unknown): Response {
  return Response.json(value, { status, headers: { "cache-control": "no-store" } });
}
