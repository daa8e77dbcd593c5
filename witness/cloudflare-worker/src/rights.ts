// Who calls, and what the caller may write. Everybody who is known may read everything.

import { Refusal } from "./refusal";

/** What the holder of one token may do. */
export interface Grant {
  /** The region that holds the token; a name for the log where `operator` is set. */
  region: string;
  /** Pairs that the region is a member of. */
  pairs?: string[];
  /** Further register keys it may write, such as `next`; `x/*` is everything under `x/`. */
  writes?: string[];
  /** May write and remove everything: for people, not for agents. */
  operator?: boolean;
}

/**
 * The grant of the request's bearer token. `tokens` is JSON: SHA-256 of each token, as 64 lower-case
 * hexadecimal digits, to its grant.
 */
export async function authenticate(request: Request, tokens: unknown): Promise<Grant> {
  const grants = readGrants(tokens);
  const presented = /^Bearer ([\x21-\x7e]{16,512})$/.exec(request.headers.get("authorization") ?? "");
  if (presented === null) {
    throw new Refusal(401, "unauthorised", "no bearer token");
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(presented[1])));
  let found: Grant | undefined;
  // Every entry is compared, and in constant time, so that the time tells nothing of any.
  for (const [hex, grant] of grants) {
    if ((crypto.subtle as any).timingSafeEqual(digest, fromHex(hex))) {
      found = grant;
    }
  }
  if (found === undefined) {
    throw new Refusal(401, "unauthorised", "the token is not known");
  }
  return found;
}

function readGrants(tokens: unknown): [string, Grant][] {
  let grants: [string, any][];
  try {
    grants = Object.entries(JSON.parse(tokens as string));
  } catch {
    throw new Refusal(500, "misconfigured", "the binding TOKENS is missing or not JSON");
  }
  for (const [hex, grant] of grants) {
    if (!/^[0-9a-f]{64}$/.test(hex) || typeof grant?.region !== "string" || grant.region === "") {
      throw new Refusal(500, "misconfigured", "the binding TOKENS is not SHA-256 of tokens to grants");
    }
  }
  if (grants.length === 0) {
    throw new Refusal(500, "misconfigured", "the binding TOKENS names no token");
  }
  return grants;
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

/** Refuses what the caller may not change. Only an operator marks a store as an acceptor. */
export function checkWrite(grant: Grant, key: string): void {
  if (grant.operator === true || mayWrite(grant, key)) {
    return;
  }
  throw new Refusal(403, "unauthorised", `${grant.region} may not write ${JSON.stringify(key)}`);
}

function mayWrite(grant: Grant, key: string): boolean {
  if (key.startsWith("probe/")) {
    return true;
  }
  const register = /^g[0-9]+\/[^/]+\/(.+)$/s.exec(key)?.[1];
  if (register === undefined) {
    return false;
  }
  return (
    register.startsWith("probe/") ||
    register === `session/${grant.region}` ||
    (grant.pairs ?? []).some((pair) => register === `pair/${pair}`) ||
    (grant.writes ?? []).some((pattern) => matches(pattern, register))
  );
}

function matches(pattern: string, register: string): boolean {
  return pattern.endsWith("/*") ? register.startsWith(pattern.slice(0, -1)) : register === pattern;
}
