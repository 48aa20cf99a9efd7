// Sends files one by one, chosen or dropped anywhere on the page, and shows of
// each how far it has come: first on its way here, then on its way to be found.
// XMLHttpRequest and not fetch, which cannot tell how much of a body was sent.

import { make } from "./dom.js";

const AT_ONCE = 2;
const section = /** @type {HTMLElement} */ (document.querySelector("[data-upload]"));
const form = /** @type {HTMLFormElement} */ (section.querySelector("form"));
const list = /** @type {HTMLElement} */ (section.querySelector("[data-uploads]"));
const { endings = "", maxBytes = "0", kindRefusal = "", sizeRefusal = "", stateWords = "{}" } = section.dataset;
/** @type {Record<string, string>} */
const STATES = JSON.parse(stateWords);
const ENDED = ["findable", "failed", "missing"];

/** @type {Upload[]} */
const uploads = [];

class Upload {
  state = "queued";
  path = "";
  id = "";

  /** @param {File} file @param {string} shelf @param {boolean} isFolder */
  constructor(file, shelf, isFolder) {
    this.file = file;
    this.shelf = shelf;
    this.bar = /** @type {HTMLProgressElement} */ (make("progress", { max: "1", value: "0", "aria-label": `How far ${file.name} has come` }));
    this.words = make("span", { class: "upload-words", dir: "auto" });
    this.action = /** @type {HTMLButtonElement} */ (make("button", { class: "link ui", type: "button" }));
    this.row = make("li", { class: "upload-row" }, make("bdi", { class: "upload-name" }, file.name), this.words, this.bar, this.action);
    list.append(this.row);
    const refusal = isFolder ? "Folders cannot be dropped here. Open it, and drop the files in it." : refused(file);
    if (refusal) this.end("refused", refusal);
    else this.wait();
  }

  wait() {
    this.state = "queued";
    this.show("Waits to be sent.", 0);
    this.offer("Cancel", () => this.end("cancelled", "Cancelled; nothing of it was kept."));
  }

  send() {
    this.state = "sending";
    const body = new FormData();
    body.append("shelf", this.shelf); // before the file, so that it is known where to put it
    body.append("files", this.file, this.file.name);
    const request = new XMLHttpRequest();
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => {
      const share = total ? loaded / total : 0;
      this.show(share < 1 ? `Being sent, ${Math.floor(share * 100)} %.` : "Being stored.", share);
    };
    request.onload = () => this.answered(request.status, request.response);
    request.onerror = () => this.end("lost", "The connection broke off. Send it again; what has arrived already is not stored twice.");
    request.onabort = () => this.end("cancelled", "Cancelled; nothing of it was kept.");
    request.open("POST", "/api/uploads");
    request.send(body);
    this.show("Being sent.", 0);
    this.offer("Cancel", () => request.abort());
  }

  /** @param {number} status @param {any} answer */
  answered(status, answer) {
    const [item] = answer?.items ?? [];
    if (status !== 201 || !item) this.end("lost", answer?.detail ?? `The appliance answered with status ${status}.`);
    else if (item.outcome === "refused") this.end("refused", item.reason);
    else {
      this.path = item.path;
      this.id = item.document_id ?? "";
      const isThere = item.outcome === "already_there";
      this.end("sent", isThere ? `Is already there, as ${item.path}.` : `Stored as ${item.path}; it will be read in a moment.`);
      if (isThere && this.id) void this.look();
    }
  }

  /** How a file that was there before is doing; nothing will change and tell of it. */
  async look() {
    const answer = await fetch(`/api/documents/${this.id}`).catch(() => null);
    if (answer?.ok) this.hear(await answer.json());
  }

  /** @param {{id: string, state: string, reason: string | null, progress: number | null}} document */
  hear({ id, state, reason, progress }) {
    const isNews = this.row.dataset.state !== state;
    this.id = id;
    this.row.dataset.state = state;
    this.show(reason ? `${STATES[state]}. ${reason}` : `${STATES[state]}.`, progress ?? (ENDED.includes(state) ? null : 0));
    if (isNews && ENDED.includes(state)) announce(`${this.file.name}: ${this.words.textContent}`);
    if (state === "failed") this.offer("Retry", () => void this.retry());
    else this.offer("", null);
  }

  async retry() {
    const answer = await fetch(`/api/documents/${this.id}/retry`, { method: "POST" }).catch(() => null);
    const said = await answer?.json().catch(() => null);
    if (answer?.ok) this.hear(said);
    else this.show(said?.detail ?? "The appliance could not be reached. Try again.", null);
  }

  /** @param {string} state @param {string} words */
  end(state, words) {
    this.state = state;
    this.row.dataset.state = state;
    this.show(words, state === "sent" ? 1 : null);
    announce(`${this.file.name}: ${words}`);
    if (state === "lost" || state === "cancelled") this.offer("Send again", () => (this.wait(), next()));
    else this.offer("", null);
    next();
  }

  /** @param {string} words @param {number | null} share no bar with null */
  show(words, share) {
    if (this.words.textContent !== words) this.words.textContent = words;
    this.bar.hidden = share === null;
    if (share !== null) this.bar.value = share;
  }

  /** @param {string} words @param {(() => void) | null} does */
  offer(words, does) {
    if (!words && document.activeElement === this.action) {
      this.row.tabIndex = -1; // whoever stood on the button stands on its row
      this.row.focus({ preventScroll: true });
    }
    if (this.action.firstChild?.textContent !== words) {
      this.action.replaceChildren(words, make("span", { class: "visually-hidden" }, ` ${this.file.name}`));
    }
    this.action.hidden = !words;
    this.action.onclick = does;
  }
}

/** @param {File} file */
function refused(file) {
  const ending = /[^.]\.[^.]+$/.test(file.name) ? file.name.slice(file.name.lastIndexOf(".")).toLowerCase() : "";
  if (!endings.split(" ").includes(ending)) return kindRefusal.replace("…", ending || "without an ending");
  if (file.size > Number(maxBytes)) return sizeRefusal;
  return "";
}

/** @param {string} words */
function announce(words) {
  /** @type {HTMLElement} */ (section.querySelector("[data-upload-status]")).textContent = words;
}

function next() {
  let free = AT_ONCE - uploads.filter(({ state }) => state === "sending").length;
  for (const upload of uploads) {
    if (free <= 0) return;
    if (upload.state !== "queued") continue;
    upload.send();
    free -= 1;
  }
}

/** @param {{file: File, isFolder: boolean}[]} found */
function add(found) {
  const shelf = /** @type {HTMLInputElement} */ (form.elements.namedItem("shelf")).value;
  for (const { file, isFolder } of found) uploads.push(new Upload(file, shelf, isFolder));
  next();
}

// --- choosing and dropping ---------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = /** @type {HTMLInputElement} */ (form.elements.namedItem("files"));
  add([...(chosen.files ?? [])].map((file) => ({ file, isFolder: false })));
  chosen.value = "";
});

/** @param {DragEvent} event */
const isFiles = (event) => Boolean(event.dataTransfer?.types.includes("Files"));
let isOver = 0; // timer: dragover comes all the time, and leaving is told by nothing reliable

document.addEventListener("dragover", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  document.body.dataset.dragging = "";
  clearTimeout(isOver);
  isOver = window.setTimeout(() => delete document.body.dataset.dragging, 300);
});

document.addEventListener("drop", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  delete document.body.dataset.dragging;
  const found = [];
  for (const item of event.dataTransfer?.items ?? []) {
    const file = item.kind === "file" && item.getAsFile();
    if (file) found.push({ file, isFolder: Boolean(item.webkitGetAsEntry?.()?.isDirectory) });
  }
  add(found);
});

document.addEventListener("almanac:documents", (event) => {
  for (const changed of /** @type {CustomEvent} */ (event).detail) {
    for (const upload of uploads) if (upload.path && upload.path === changed.path) upload.hear(changed);
  }
});

window.addEventListener("beforeunload", (event) => {
  if (uploads.some(({ state }) => state === "sending" || state === "queued")) event.preventDefault();
});

/** @type {HTMLElement} */ (section.querySelector("[data-upload-hint]")).hidden = false;
