// The console's own script: times, theme, dialogs, keyboard, upload, plots, live events. Pages work without it, less these.
(() => {
  "use strict";
  const html = document.documentElement;
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times: the server's clock counts, shown in the reader's zone.
  const skew = Number(html.dataset.now || 0) * 1000 - Date.now();
  const now = () => (Date.now() + skew) / 1000;
  const duration = (seconds) => {
    let rest = Math.max(0, Math.floor(seconds));
    if (rest < 60) return `${rest} s`;
    const parts = [];
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (rest >= size) { parts.push(`${Math.floor(rest / size)} ${unit}`); rest %= size; }
    }
    return parts.slice(0, 2).join(" ");
  };
  const countdown = (left) => {
    if (left <= 0) return "ended";
    if (left >= 3600) return duration(left);
    const whole = Math.floor(left);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} min`;
  };
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long", hourCycle: "h23" });
  const showTimes = (root = document) => {
    for (const element of $$("time[datetime]", root)) {
      const then = Date.parse(element.dateTime) / 1000;
      if (Number.isNaN(then)) continue;
      if (!element.dataset.shown) { element.title = full.format(then * 1000); element.dataset.shown = "1"; }
      let text = element.textContent;
      if ("ago" in element.dataset) {
        const passed = now() - then;
        text = passed < 10 && passed > -60 ? "just now" : passed > 0 ? `${duration(passed)} ago` : `in ${duration(-passed)}`;
      } else if ("left" in element.dataset) text = countdown(then - now());
      else if ("clock" in element.dataset) text = day.format(then * 1000);
      if (element.textContent !== text) element.textContent = text;
    }
  };
  showTimes();
  setInterval(showTimes, 1000);

  // Theme and menu.
  const isDark = () => (html.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-theme-toggle],.nav-toggle,[data-close],[data-help],[data-copy],[aria-disabled=true]");
    if (!target) return;
    if (target.matches("[aria-disabled=true]")) event.preventDefault();
    else if (target.matches("[data-theme-toggle]")) {
      html.dataset.theme = isDark() ? "light" : "dark";
      localStorage.setItem("theme", html.dataset.theme);
      document.dispatchEvent(new CustomEvent("theme"));
    } else if (target.matches(".nav-toggle")) {
      const open = target.getAttribute("aria-expanded") !== "true";
      target.setAttribute("aria-expanded", String(open));
      $("#side").classList.toggle("open", open);
    } else if (target.matches("[data-close]")) target.closest("dialog")?.close();
    else if (target.matches("[data-help]")) $("#help").showModal();
    else if (target.matches("[data-copy]")) copy(target);
  });
  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1500);
    } catch { getSelection().selectAllChildren(button.previousElementSibling); }
  };

  // Dialogs: what htmx puts into #dialog is shown as one.
  const dialog = $("#dialog");
  document.addEventListener("htmx:after:swap", (event) => {
    const target = event.detail?.ctx?.target;
    if (target === dialog && !dialog.open) { dialog.showModal(); $("input:not([type=hidden])", dialog)?.focus(); }
    showTimes();
    drawPlots();
  });
  for (const box of $$("dialog")) {
    box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
    if (box === dialog) box.addEventListener("close", () => { box.textContent = ""; });
  }

  // Keyboard.
  let prefix = 0;
  const typing = (element) => element.matches("input,textarea,select,[contenteditable]") ;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || $("dialog[open]")) return;
    const key = event.key;
    if (Date.now() - prefix < 1200) {
      prefix = 0;
      const link = $(`#nav a[data-key="g ${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (key === "g") prefix = Date.now();
    else if (key === "/") { event.preventDefault(); $("#search").focus(); $("#search").select(); }
    else if (key === "?") $("#help").showModal();
    else if (key === "j" || key === "k") { event.preventDefault(); step(key === "j" ? 1 : -1); }
  });
  const step = (by) => {
    const rows = $$("tr[data-href] a, .row-link, .inbox summary").filter((element) => element.offsetParent && !element.closest("nav"));
    const firsts = rows.filter((element) => { const row = element.closest("tr"); return !row || $("a", row) === element; });
    const at = firsts.indexOf(document.activeElement);
    const next = firsts[Math.min(Math.max(at + by, 0), firsts.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-href]");
    if (row && !event.target.closest("a,button,input,label,summary") && !String(getSelection())) location.href = row.dataset.href;
  });
  document.addEventListener("change", (event) => { if (event.target.matches("[data-submit]")) event.target.form.requestSubmit(); });

  // Captures: sent as they are, with progress.
  const token = () => { try { return JSON.parse(document.body.getAttribute("hx-headers:inherited"))["X-CSRF-Token"]; } catch { return ""; } };
  const size = (bytes) => bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  const send = (form, file) => {
    const box = $(".drop-progress", form), bar = $("progress", box), text = $(".drop-text", box);
    const fail = (message) => { text.textContent = message; form.classList.remove("busy"); form.classList.add("failed"); };
    box.hidden = false;
    form.classList.remove("failed");
    if (file.size > Number(form.dataset.limit)) return fail(`${file.name} has ${size(file.size)}: too large.`);
    form.classList.add("busy");
    const request = new XMLHttpRequest();
    request.open("POST", `/api/v1/captures?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("X-CSRF-Token", token());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      bar.value = event.total ? event.loaded / event.total : 0;
      text.textContent = `${file.name}: ${size(event.loaded)} of ${size(event.total)} sent`;
    };
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status === 201) location.href = `/captures/${answer.uid}`;
      else fail(`${answer.detail || "It was refused."} ${answer.hint || ""}`);
    };
    request.onerror = () => fail("The connection broke. Try again.");
    request.send(file);
  };
  for (const form of $$("[data-drop]")) {
    const input = $("input[type=file]", form);
    input.addEventListener("change", () => { if (input.files[0]) send(form, input.files[0]); });
    for (const name of ["dragenter", "dragover"]) form.addEventListener(name, (event) => { event.preventDefault(); form.classList.add("over"); });
    for (const name of ["dragleave", "drop"]) form.addEventListener(name, () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => { event.preventDefault(); const file = event.dataTransfer.files[0]; if (file) send(form, file); });
  }

  // Plots of traffic.
  const colour = (name) => {
    const probe = document.createElement("span");
    probe.className = `probe-${name}`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const bytes = (value) => {
    for (const [limit, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) if (Math.abs(value) >= limit) return `${+(value / limit).toFixed(1)} ${unit}`;
    return `${Math.round(value)} B`;
  };
  const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const dayName = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const moment = (step) => (tick) => {
    const at = new Date(tick * 1000);
    return step >= 86400 || (at.getHours() === 0 && at.getMinutes() === 0) ? dayName.format(at) : clockTime.format(at);
  };
  const faded = (value, share) => value.replace(/^rgb\(([^)]+)\)$/, `rgba($1, ${share})`);
  const plots = new Map();
  const draw = async (box) => {
    const url = new URL(box.dataset.plot, location.href);
    if (box.dataset.span) {
      url.searchParams.set("until", String(now()));
      url.searchParams.set("since", String(now() - Number(box.dataset.span)));
    }
    let points = [];
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" } });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.detail);
      points = body.items;
    } catch (error) { box.textContent = `The plot cannot be drawn: ${error.message}`; return; }
    plots.get(box)?.destroy();
    box.textContent = "";
    if (!points.some((point) => point.bytes_in || point.bytes_out)) {
      const line = document.createElement("p");
      line.className = "muted plot-empty";
      line.textContent = "No traffic in this span.";
      box.append(line);
      return;
    }
    const [sent, received, grid, words] = ["sent", "received", "grid", "words"].map(colour);
    const axis = { stroke: words, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 }, font: `11px ${getComputedStyle(document.body).fontFamily}` };
    // Beside the pointer its moment's value; without a pointer all of the span.
    const told = (shown, value, series) => value == null ? `${bytes(shown.data[series].reduce((all, one) => all + (one || 0), 0))} in all` : bytes(value);
    const plot = new uPlot({
      width: Math.max(box.clientWidth, 200), height: Number(box.dataset.height || 200),
      cursor: { y: false, points: { size: 7 } },
      legend: { live: true },
      scales: { y: { range: (_, __, max) => [0, (max || 1) * 1.08] } },
      axes: [{ ...axis, grid: { show: false }, space: 74, size: 30, values: (_, ticks, __, ___, step) => ticks.map(moment(step)) }, { ...axis, size: 62, values: (_, ticks) => ticks.map(bytes) }],
      series: [
        { label: "time" },
        { label: "received", stroke: received, fill: faded(received, 0.16), width: 1.6, points: { show: false }, value: told },
        { label: "sent", stroke: sent, fill: faded(sent, 0.16), width: 1.6, points: { show: false }, value: told },
      ],
    }, [points.map((p) => p.time), points.map((p) => p.bytes_in), points.map((p) => p.bytes_out)], box);
    plots.set(box, plot);
    box.dataset.drawn = "1";
  };
  const drawPlots = (again = false) => { if (window.uPlot) for (const box of $$("[data-plot]")) if (again || !box.dataset.drawn) { box.dataset.drawn = "1"; draw(box); } };
  drawPlots();
  document.addEventListener("theme", () => drawPlots(true));
  let resizing = 0;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => { for (const [box, plot] of plots) if (box.isConnected) plot.setSize({ width: Math.max(box.clientWidth, 200), height: Number(box.dataset.height || 200) }); }, 150);
  });
  for (const button of $$("[data-span]:is(button)")) button.addEventListener("click", () => {
    for (const other of $$("button[data-span]", button.parentElement)) other.setAttribute("aria-pressed", String(other === button));
    const box = $("[data-plot]", button.closest("section"));
    box.dataset.span = button.dataset.span;
    draw(box);
  });

  // While nothing is known yet, the first page looks again; not while a capture is being sent.
  const refresh = $("[data-refresh]");
  if (refresh) setInterval(() => { if (!$(".drop.busy") && !$("dialog[open]") && !document.hidden) location.reload(); }, Number(refresh.dataset.refresh) * 1000);

  // Live events.
  const list = $("[data-live]");
  if (list) {
    const state = $("[data-live-state]"), pause = $("[data-live-pause]");
    let paused = false, missed = 0;
    const say = (text, tone) => { state.textContent = text; state.dataset.tone = tone; };
    if (!list.hasAttribute("hx-sse:connect")) say("search results, not live", "off");
    document.addEventListener("htmx:before:response", (event) => { if (event.detail?.ctx?.sourceElement === list) say("live", "on"); });
    list.addEventListener("htmx:sse:after:connection", () => say("live", "on"));
    list.addEventListener("htmx:sse:error", () => say("connection lost, trying again", "bad"));
    list.addEventListener("htmx:sse:before:message", (event) => {
      say(paused ? `paused, ${++missed} passed` : "live", paused ? "off" : "on");
      if (paused) event.preventDefault();
    });
    list.addEventListener("htmx:sse:after:message", () => {
      $(".live-empty")?.remove();
      list.firstElementChild?.classList.add("new");
      while (list.children.length > 300) list.lastElementChild.remove();
      showTimes(list.firstElementChild || list);
    });
    pause.addEventListener("click", () => {
      paused = !paused;
      missed = 0;
      pause.setAttribute("aria-pressed", String(paused));
      $("span", pause).textContent = paused ? "Go on" : "Pause";
      say(paused ? "paused" : "live", paused ? "off" : "on");
    });
  }
})();
