// An answer that says that nothing was carried out, and why.

export type Code = "conflict" | "unauthorised" | "misconfigured";

export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: Code,
    message: string,
  ) {
    super(message);
  }
}
