// What only the explorer does: parts that come later or change with a choice, words and their ribbons, the SQL page.
"use strict";
(() => {
  const ask = async (url, options = {}) => {
    try {
      const answer = await fetch(url, { ...options, headers: { "x-wanted": "fragment", ...options.headers } });
      return await answer.text();
    } catch (error) {
      if (error.name === "AbortError") return null;
      return '<p class="error" role="alert">The explorer does not answer: is `xlwh explore` still running?</p>';
    }
  };
  // Text of our own server, where every piece of data was escaped; the page's policy lets no script in it run.
  const put = (place, html) => { place.innerHTML = html; window.sortable(place); bind(place); };

  const pending = new Map();
  const swap = async (place, url, focus) => {
    pending.get(place)?.abort();
    const stop = new AbortController();
    pending.set(place, stop);
    place.setAttribute("aria-busy", "true");
    const html = await ask(url, { signal: stop.signal });
    if (html === null) return;
    const at = focus && place.contains(document.activeElement) ? { name: focus, from: document.activeElement.selectionStart } : null;
    put(place, html);
    place.removeAttribute("aria-busy");
    if (at) {
      const field = place.querySelector(`[name="${CSS.escape(at.name)}"]`);
      field?.focus();
      if (at.from != null && field?.setSelectionRange) field.setSelectionRange(at.from, at.from);
    }
  };

  const query = (form) => new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== "")).toString();
  function bind(scope) {
    for (const form of scope.querySelectorAll("form.filters")) {
      const change = (event) => {
        const url = `${form.getAttribute("action")}?${query(form)}`;
        const target = form.closest("[data-figure]") ? form.parentElement : form.closest("[data-swap]");
        swap(replaceable(target), url, event?.target?.name);
        if (!form.closest("[data-figure]")) history.replaceState(null, "", url);
      };
      form.addEventListener("change", change);
      form.addEventListener("submit", (event) => { event.preventDefault(); change(event); });
      let timer;
      form.addEventListener("input", (event) => {
        if (event.target.type !== "search") return;
        clearTimeout(timer);
        timer = setTimeout(() => change(event), 120);
      });
    }
    for (const mark of scope.querySelectorAll("[data-drill]")) {
      mark.addEventListener("click", () => { location.href = mark.dataset.drill; });
    }
    flows(scope);
  }
  // A part is swapped inside a wrapper that stays.
  const replaceable = (element) => {
    if (element.parentElement.dataset.wrapper === "") return element.parentElement;
    const wrapper = document.createElement("div");
    wrapper.dataset.wrapper = "";
    element.replaceWith(wrapper);
    wrapper.append(element);
    return wrapper;
  };

  function flows(scope) {
    for (const drawing of scope.querySelectorAll(".flow-drawing")) {
      const ribbons = drawing.querySelectorAll(".ribbon");
      const show = (name) => {
        for (const ribbon of ribbons) ribbon.classList.toggle("dim", name !== null && ribbon.dataset.source !== name && ribbon.dataset.target !== name);
      };
      for (const word of drawing.querySelectorAll(".word")) {
        word.addEventListener("pointerenter", () => show(word.dataset.node));
        word.addEventListener("pointerleave", () => show(null));
      }
      drawing.querySelector("svg").classList.add("flow");
    }
  }

  bind(document);
  for (const place of document.querySelectorAll("[data-load]")) swap(place, place.dataset.load);

  const area = document.getElementById("sql");
  if (!area) return;
  const form = document.getElementById("sql-form");
  const result = document.getElementById("result");
  const stop = document.getElementById("stop");
  const list = document.getElementById("complete");
  let running = null;

  const run = async () => {
    running?.abort();
    running = new AbortController();
    const mine = running;
    stop.disabled = false;
    result.setAttribute("aria-busy", "true");
    const html = await ask("/sql/run", { method: "POST", body: area.value, signal: mine.signal });
    if (mine !== running) return;
    stop.disabled = true;
    result.removeAttribute("aria-busy");
    if (html !== null) put(result, html);
    const url = new URL(location.href);
    url.searchParams.set("q", area.value);
    if (url.href.length < 6000) history.replaceState(null, "", url);
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  stop.addEventListener("click", () => ask("/sql/stop", { method: "POST" }));
  for (const button of form.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => {
      location.href = `/sql/download?${new URLSearchParams({ q: area.value, format: button.dataset.format })}`;
    });
  }
  document.getElementById("sql-examples").addEventListener("change", (event) => {
    if (event.target.value) { area.value = event.target.value; area.focus(); }
  });

  const words = ("select from where group by order limit join left using on as and or not in is null distinct having count avg sum min max with case when then else end desc asc all between like filter over partition quantile_cont median corr unnest describe summarize").split(" ");
  let schema = {};
  fetch("/sql/schema").then((answer) => answer.json()).then((found) => { schema = found; });

  let options = [];
  let chosen = 0;
  const close = () => { list.hidden = true; area.setAttribute("aria-expanded", "false"); area.removeAttribute("aria-activedescendant"); };
  const typed = () => /[A-Za-z0-9_.]*$/.exec(area.value.slice(0, area.selectionStart))[0];
  const complete = (asked) => {
    const part = typed().toLowerCase();
    const last = part.split(".").pop();
    if (!asked && last.length < 2) { close(); return; }
    const text = area.value.toLowerCase();
    const named = Object.keys(schema).filter((view) => new RegExp(`\\b${view}\\b`).test(text));
    const found = new Map();
    const add = (name, kind) => { if (name.toLowerCase().startsWith(last) && name !== last && !found.has(name)) found.set(name, kind); };
    for (const view of named) for (const [column, type] of Object.entries(schema[view])) add(column, `${type} · ${view}`);
    if (!part.includes(".")) {
      for (const view of Object.keys(schema)) add(view, "view");
      for (const word of words) add(word, "");
      if (last.length > 2) for (const view of Object.keys(schema)) for (const [column, type] of Object.entries(schema[view])) add(column, `${type} · ${view}`);
    }
    options = [...found].slice(0, 12);
    if (!options.length) { close(); return; }
    chosen = 0;
    list.replaceChildren(...options.map(([name, kind], at) => {
      const item = document.createElement("li");
      item.id = `complete-${at}`;
      item.setAttribute("role", "option");
      item.append(name);
      const small = document.createElement("small");
      small.textContent = kind;
      item.append(small);
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); take(at); });
      return item;
    }));
    const lines = area.value.slice(0, area.selectionStart).split("\n");
    const style = getComputedStyle(area);
    list.style.top = `${Math.min(area.clientHeight, (lines.length) * parseFloat(style.lineHeight) + 10 - area.scrollTop)}px`;
    list.style.left = `${Math.min(area.clientWidth - 280, (lines.at(-1).length - last.length) * parseFloat(style.fontSize) * 0.6 + 10)}px`;
    list.hidden = false;
    area.setAttribute("aria-expanded", "true");
    mark();
  };
  const mark = () => {
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
    area.setAttribute("aria-activedescendant", `complete-${chosen}`);
    list.children[chosen].scrollIntoView({ block: "nearest" });
  };
  const take = (at) => {
    const last = typed().split(".").pop();
    const end = area.selectionStart;
    area.setRangeText(options[at][0], end - last.length, end, "end");
    close();
  };
  area.addEventListener("input", () => complete(false));
  area.addEventListener("blur", close);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); close(); run(); return; }
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); complete(true); return; }
    if (list.hidden) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : options.length - 1)) % options.length;
      mark();
    } else if (event.key === "Enter" || event.key === "Tab") { event.preventDefault(); take(chosen); }
    else if (event.key === "Escape") { event.preventDefault(); close(); }
  });
  if (new URLSearchParams(location.search).has("q")) run();
})();
