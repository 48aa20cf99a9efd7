// The little panel under "Aa": size of letters, length of lines, paper.

const KEY = "almanac-type";
const THEME = "almanac-theme";
const LEAST = 1, MIDDLE = 2, MOST = 6;
const root = document.documentElement;

export function offerType() {
  const panel = /** @type {HTMLElement | null} */ (document.querySelector("[data-type]"));
  if (!panel) return;
  panel.hidden = false;
  panel.querySelector("[data-smaller]")?.addEventListener("click", () => size(-1));
  panel.querySelector("[data-larger]")?.addEventListener("click", () => size(1));
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (panel.querySelectorAll("[data-width-choice]")))
    button.addEventListener("click", () => {
      const width = button.dataset.widthChoice;
      if (width === "normal") delete root.dataset.width;
      else root.dataset.width = width;
      keep();
    });
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (panel.querySelectorAll("[data-theme-choice]")))
    button.addEventListener("click", () => {
      root.dataset.theme = button.dataset.themeChoice;
      keepText(THEME, button.dataset.themeChoice ?? "");
      show(panel);
    });
  document.addEventListener("click", (event) => {
    if (!panel.contains(/** @type {Node} */ (event.target))) panel.removeAttribute("open");
  });
  show(panel);

  /** @param {number} step */
  function size(step) {
    const now = Number(root.dataset.size ?? MIDDLE) + step;
    if (now < LEAST || now > MOST) return;
    root.dataset.size = String(now);
    keep();
  }

  function keep() {
    keepText(KEY, JSON.stringify({ size: Number(root.dataset.size ?? MIDDLE), width: root.dataset.width ?? "normal" }));
    if (panel) show(panel);
  }
}

/** @param {HTMLElement} panel */
function show(panel) {
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (panel.querySelectorAll("[data-theme-choice]")))
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === (root.dataset.theme ?? "")));
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (panel.querySelectorAll("[data-width-choice]")))
    button.setAttribute("aria-pressed", String(button.dataset.widthChoice === (root.dataset.width ?? "normal")));
  const now = Number(root.dataset.size ?? MIDDLE);
  panel.querySelector("[data-smaller]")?.toggleAttribute("disabled", now <= LEAST);
  panel.querySelector("[data-larger]")?.toggleAttribute("disabled", now >= MOST);
}

/** @param {string} key @param {string} text */
function keepText(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch {} // storage is switched off: the choice holds for this page
}
