// How a reader likes their pages: the size of letters and the length of lines.
// Loaded before the text is drawn, so that it does not jump.
(() => {
  const KEY = "almanac-type";
  const root = document.documentElement;
  try {
    const { size, width } = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    if (Number.isInteger(size) && size >= 1 && size <= 6) root.dataset.size = String(size);
    if (width === "narrow" || width === "wide") root.dataset.width = width;
  } catch {} // nothing kept, or storage is switched off
})();
