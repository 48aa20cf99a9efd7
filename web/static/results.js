// What narrows the results: open beside them where there is room, folded above
// them where not.

const margin = document.querySelector("[data-margin]");
const wide = matchMedia("(min-width: 64em)");

function fit() {
  if (margin instanceof HTMLDetailsElement) margin.open = wide.matches;
}

wide.addEventListener("change", fit);
fit();
