// Server-sent events out of a fetch body, by the WHATWG rules: three kinds of
// line end, comments, `data` over several lines; an unended event is dropped.

/** Takes text cut anywhere; gives the events that became whole. */
export class SseParser {
  #rest = "";
  #isAfterCr = false;
  #event = "";
  /** @type {string[]} */
  #data = [];

  /**
   * @param {string} text
   * @returns {{event: string, data: string}[]}
   */
  push(text) {
    if (!text) return [];
    // A CR at the cut ended its line; the LF after it ends no other.
    const fresh = this.#isAfterCr && text.startsWith("\n") ? text.slice(1) : text;
    this.#isAfterCr = text.endsWith("\r");
    const lines = (this.#rest + fresh).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#take(line));
  }

  /** @param {string} line */
  #take(line) {
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "event") this.#event = value;
    if (field === "data") this.#data.push(value);
    if (line) return [];
    const whole = this.#data.length ? [{ event: this.#event || "message", data: this.#data.join("\n") }] : [];
    this.#event = "";
    this.#data = [];
    return whole;
  }
}

/** @param {ReadableStream<Uint8Array>} body UTF-8; even a letter may be cut in two */
export async function* readEvents(body) {
  const parser = new SseParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield* parser.push(decoder.decode(value, { stream: true }));
  }
}
