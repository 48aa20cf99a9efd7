// Where somebody was in a book: kept in this browser, told to nobody. A place is
// a leaf's address and the number of the first paragraph on the screen.

const MOST_BOOKS = 200;
const KEY = "almanac-places";
const BLOCKS = "p, h1, h2, h3, h4, h5, h6, li, pre, blockquote, img, tr, dt, dd, figure";

/** @typedef {{ here: string, block: number, at: number }} Place */

/** @returns {Record<string, Place>} */
function places() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/** @param {HTMLElement} reader @param {HTMLElement} text */
export function rememberPlace(reader, text) {
  const book = reader.dataset.book ?? "";
  const here = reader.dataset.here ?? "";
  const kept = places()[book];
  const blocks = [...text.querySelectorAll(BLOCKS)];
  if (kept && location.hash === "#continue") {
    if (kept.here === here) blocks[kept.block]?.scrollIntoView({ block: "start" });
  } else if (kept && !location.search && (kept.here !== here || kept.block > 2)) {
    const line = /** @type {HTMLElement | null} */ (document.querySelector("[data-continue]"));
    const link = line?.querySelector("a");
    // Only ever back into this book, whatever was written into the storage.
    if (line && link && kept.here.startsWith(`/read/${book}?`)) {
      link.href = `${kept.here}#continue`;
      line.hidden = false;
      link.addEventListener("click", () => removeEventListener("pagehide", keep));
    }
  }

  // Whoever looks a passage up does not lose the place in the book they are reading; reading on from there moves it.
  let moved = location.search !== "" && !/[?&](at|hit|q)=/.test(location.search);
  function keep() {
    if (!moved) return;
    const block = blocks.findIndex((one) => one.getBoundingClientRect().bottom > 0);
    const all = places();
    all[book] = { here, block: Math.max(0, block), at: Date.now() };
    const oldest = Object.keys(all).sort((one, other) => all[other].at - all[one].at).slice(MOST_BOOKS);
    for (const one of oldest) delete all[one];
    try {
      localStorage.setItem(KEY, JSON.stringify(all));
    } catch {} // storage is switched off or full
  }

  let waiting = 0;
  for (const kind of ["wheel", "touchmove", "keydown"]) addEventListener(kind, () => { moved = true; }, { passive: true });
  addEventListener("scroll", () => {
    clearTimeout(waiting);
    waiting = setTimeout(keep, 400);
  }, { passive: true });
  addEventListener("pagehide", keep);
  document.addEventListener("visibilitychange", () => document.hidden && keep());
}
