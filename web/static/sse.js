// Server-sent events out of a fetch body, by the WHATWG rules: three kinds of
// line end, comments, `data` over several lines, an event ended by an empty
// line, and one left unended at the close thrown away.

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
    // A CR at the cut has ended its line; an LF after it ends nothing more.
    const fresh = this.#isAfterCr && text.startsWith("\n") ? text.slice(1) : text;
    this.#isAfterCr = text.endsWith("\r");
    const lines = (this.#rest + fresh).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#take(line));
  }

  /** @param {string} line */
  #take(line) {
    if (line === "") return this.#dispatch();
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "event") this.#event = value;
    if (field === "data") this.#data.push(value);
    return [];
  }

  #dispatch() {
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
