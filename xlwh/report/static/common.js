// What the static report and the explorer share: light and dark, tips, tables that sort.
"use strict";
(() => {
  const root = document.documentElement;
  const saved = (() => { try { return localStorage.getItem("xlwh-theme"); } catch { return null; } })();
  if (saved) root.dataset.theme = saved;

  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const toggle = document.getElementById("theme");
  if (toggle) {
    const tell = () => { toggle.textContent = isDark() ? "Light theme" : "Dark theme"; };
    toggle.hidden = false;
    tell();
    toggle.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("xlwh-theme", root.dataset.theme); } catch { /* private windows keep nothing */ }
      tell();
    });
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest?.(".mark");
    if (!mark) { tip.style.display = "none"; return; }
    const title = mark.querySelector(":scope > title");
    if (title) { mark.dataset.tip = title.textContent; title.remove(); }
    tip.textContent = mark.dataset.tip || "";
    tip.style.display = tip.textContent ? "block" : "none";
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const y = event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18;
    tip.style.left = `${x}px`;
    tip.style.top = `${y}px`;
  });

  const value = (row, at, numeric) => {
    const text = row.cells[at].textContent.trim();
    if (!numeric) return text;
    const found = parseFloat(text.replaceAll(",", "").replace("\u2212", "-"));
    return Number.isNaN(found) ? -Infinity : found;
  };
  window.sortable = (scope) => {
    for (const head of scope.querySelectorAll("table:not([data-sorts]) thead th")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const body = head.closest("table").tBodies[0];
        const at = head.cellIndex;
        const numeric = head.classList.contains("num");
        const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !numeric);
        for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].map((row) => [value(row, at, numeric), row]);
        rows.sort(([a], [b]) => (numeric ? a - b : a.localeCompare(b)) * (up ? 1 : -1));
        body.append(...rows.map(([, row]) => row));
      });
    }
    for (const table of scope.querySelectorAll("table")) table.dataset.sorts = "";
  };
  window.sortable(document);
})();
