"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const LETTERS = { current: "C", outdated: "O", failed: "F", drifted: "D", missing: "M", unknown: "U", "not applied": "N" };
  const PAGE = 50, STEP = 100;
  const HIDING = /(?![\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;  // as dbmod/cli/layout.py: joiners are of scripts and emoji
  const by = (id) => document.getElementById(id);
  const byName = new Intl.Collator("en", { numeric: true }).compare;  // numbers as people count, as the fleet is given
  const word = (place) => data.words[place || 0];

  // Names and messages come from users and hosts: they are text, and what could hide or turn text is spelled out.
  const clear = (text) => String(text).replace(HIDING, (one) => "\\u" + one.codePointAt(0).toString(16).padStart(4, "0"));

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "onclick") element.addEventListener("click", value);
      else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((one) => one !== null && one !== undefined));
    return element;
  }
  function said(text) {
    const element = document.createElement("bdi");
    element.textContent = clear(text);
    return element;
  }
  const fixed = (text) => make("span", { class: "fixed" }, text);
  const time = (text) => text ? make("time", { datetime: text + "Z" }, fixed(text.slice(0, 10)), " ", fixed(text.slice(11))) : "";
  const spoken = (text) => make("span", { class: "spoken" }, text);
  const cells = (tag, things) => things.map((one) => make(tag, tag === "th" ? { scope: "col" } : {}, one));
  const chip = (state, text) => make("span", { class: "chip " + state.replace(" ", "-") }, text);

  function table(headers, rows) {
    const body = make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells("td", row))));
    return make("table", {}, make("thead", {}, make("tr", {}, ...cells("th", headers))), body);
  }

  // A row whose first cell opens a second row, which is made only then.
  function opening(label, rest, columns, fill) {
    const button = make("button", { type: "button", class: "opener", "aria-expanded": "false" }, label);
    const row = make("tr", {}, make("th", { scope: "row" }, button), ...rest);
    let detail = null;
    button.addEventListener("click", () => {
      const isOpen = detail !== null;
      if (isOpen) detail.remove();
      detail = isOpen ? null : make("tr", { class: "detail" }, make("td", { colspan: columns }, fill()));
      if (detail) row.after(detail);
      button.setAttribute("aria-expanded", String(!isOpen));
    });
    return row;
  }

  // Shows so many rows at a time; printed, all of them.
  function pager(body, bar, noun) {
    let things = [], row = null, at = 0, isAll = false;
    function draw() {
      const shown = isAll ? things : things.slice(at, at + PAGE);
      body.replaceChildren(...shown.map(row));
      const last = at + PAGE >= things.length;
      const move = (text, to, isOff) => make("button", { type: "button", disabled: isOff, onclick: () => {
        at = to;
        draw();
        const again = [...bar.querySelectorAll("button")];
        (again.find((one) => one.textContent === text && !one.disabled) || again.find((one) => !one.disabled)).focus();
      } }, text);
      const where = `${at + 1} to ${Math.min(at + PAGE, things.length)} of ${things.length} ${noun}`;
      bar.replaceChildren(...(things.length <= PAGE ? [] : [
        move("Previous", at - PAGE, at === 0), make("span", { class: "quiet", role: "status" }, where),
        move("Next", at + PAGE, last)]));
    }
    addEventListener("beforeprint", () => { isAll = true; draw(); });
    addEventListener("afterprint", () => { isAll = false; draw(); });
    return (all, show) => { things = all; row = show; at = 0; draw(); };
  }

  // The matrix: a row for each instance, a column for each module.
  const filter = { search: "", module: "", datastore: "", cluster: "", standing: -1 };
  const heads = by("matrix").tHead, showInstances = pager(by("matrix").tBodies[0], by("matrix-pages"), "instances");
  const columns = () => data.modules.map((_, index) => index).filter((index) => filter.module === "" || index === +filter.module);

  function cell(one) {
    if (!one) return make("td", { class: "cell" }, spoken("not for this instance"));
    const standing = data.standings[one[0]], held = one[1] ? `, holds version ${one[1]}` : "";
    const box = chip(standing, make("span", { "aria-hidden": "true" }, LETTERS[standing]));
    box.append(spoken(standing + held));
    if (one[1]) box.append(make("small", { "aria-hidden": "true" }, String(one[1])));
    box.title = standing + held;
    return make("td", { class: "cell" }, box);
  }
  function instanceRow(at) {
    const [name, id, datastore, version, cluster, region, status] = data.instances[at], shown = columns();
    const rest = [make("td", {}, said(`${datastore} ${version}`)), make("td", {}, said(cluster))];
    return opening(said(name), [...rest, ...shown.map((index) => cell(data.cells[at][index]))], 3 + shown.length, () => {
      const held = shown.filter((index) => data.cells[at][index]).map((index) => {
        const one = data.cells[at][index], standing = data.standings[one[0]];
        return [said(data.modules[index].name), chip(standing, standing), one[1] ? String(one[1]) : "",
          time(word(one[2])), said(word(one[3]))];
      });
      const about = make("p", { class: "quiet" }, "ID ", make("code", {}, said(id)), ", ", said(region), ", ", said(status));
      return make("div", {}, about, table(["Module", "Standing", "Version held", "Last look", "Message"], held));
    });
  }
  function isFound(at, shown) {
    const one = data.instances[at], datastore = one[2], cluster = one[4];
    if (filter.datastore && datastore !== filter.datastore) return false;
    if (filter.cluster && cluster !== filter.cluster) return false;
    if (filter.search && !one.join("\n").toLowerCase().includes(filter.search)) return false;
    const here = shown.map((index) => data.cells[at][index]).filter(Boolean);
    if (filter.standing >= 0) return here.some((one) => one[0] === filter.standing);
    return filter.module === "" || here.length > 0;
  }
  function drawMatrix() {
    const shown = columns();
    const found = data.instances.map((_, at) => at).filter((at) => isFound(at, shown));
    const names = ["Instance", "Datastore", "Cluster", ...shown.map((index) => said(data.modules[index].name))];
    heads.replaceChildren(make("tr", {}, ...cells("th", names)));
    showInstances(found, instanceRow);
    by("found").textContent = `${found.length} of ${data.instances.length} instances`;
  }
  function drawStandings() {
    const counts = data.standings.map(() => 0);
    for (const line of data.cells) for (const one of line) if (one) counts[one[0]] += 1;
    by("standings").replaceChildren(...data.standings.map((standing, index) => counts[index] ? make("button", {
      type: "button", "aria-pressed": "false", onclick: (event) => {
        filter.standing = filter.standing === index ? -1 : index;
        for (const one of by("standings").children) one.setAttribute("aria-pressed", "false");
        event.currentTarget.setAttribute("aria-pressed", String(filter.standing === index));
        drawMatrix();
      } }, chip(standing, make("span", { "aria-hidden": "true" }, LETTERS[standing])),
      make("b", {}, counts[index].toLocaleString("en")), " " + standing) : null).filter(Boolean));
  }
  function choices(id, pairs) {
    const options = pairs.map(([value, text]) => make("option", { value }, clear(text)));
    by(id).replaceChildren(make("option", { value: "" }, "all"), ...options);
    by(id).addEventListener("change", () => { filter[id] = by(id).value; drawMatrix(); });
  }
  function listen() {
    const different = (column) => [...new Set(data.instances.map((one) => one[column]))].filter(Boolean).sort(byName);
    choices("module", data.modules.map((one, index) => [String(index), one.name]));
    choices("datastore", different(2).map((one) => [one, one]));
    choices("cluster", different(4).map((one) => [one, one]));
    by("search").addEventListener("input", () => { filter.search = by("search").value.trim().toLowerCase(); drawMatrix(); });
    by("filters").addEventListener("submit", (event) => event.preventDefault());
    by("filters").addEventListener("reset", () => {
      Object.assign(filter, { search: "", module: "", datastore: "", cluster: "", standing: -1 });
      drawStandings();
      drawMatrix();
    });
  }

  function timeline(module) {
    const holders = module.versions.reduce((sum, one) => sum + one[4], 0);
    const rows = module.versions.map(([number, md5, when, who, count, pruned]) => {
      const bar = make("progress", { max: Math.max(holders, 1), value: count, "aria-hidden": "true" });
      const held = make("span", {}, bar, pruned ? `${count}, contents pruned` : String(count));
      return [String(number), make("code", {}, md5), time(when), said(who), held];
    });
    return make("div", { class: "wide" }, table(["Version", "MD5", "Registered (UTC)", "By", "Instances that hold it"], rows));
  }
  function drawVersions() {
    by("timelines").replaceChildren(...data.modules.map((module, index) => {
      const newest = module.versions[0], gone = module.deleted ? ", deleted" : "";
      const about = `${module.type}${gone}: version ${newest[0]}, held by ${newest[4]}`;
      const summary = make("summary", {}, make("b", {}, said(module.name)), make("span", { class: "quiet" }, said(about)));
      const block = make("details", {}, summary);
      const fill = () => { if (block.children.length === 1) block.append(timeline(module)); };
      block.addEventListener("toggle", fill);
      addEventListener("beforeprint", () => { fill(); block.open = true; });
      block.open = index === 0;
      return block;
    }));
  }

  function batch(number, attempts) {
    const states = {};
    for (const one of attempts) states[word(one[3])] = (states[word(one[3])] || 0) + 1;
    const counted = Object.entries(states).map(([state, count]) => `${count} ${state}`).join(", ");
    const rows = (some) => some.map((one) => [said(word(one[1])), said(word(one[2])), chip(word(one[3]), word(one[3])),
      one[4] ? String(one[4]) : "", one[5] ? String(one[5]) : "", said(word(one[6]))]);
    const shown = table(["Instance", "Module", "State", "From", "To", "Message"], rows(attempts.slice(0, STEP)));
    const block = make("div", {}, make("h3", {}, `Batch ${number}: ${counted}`), shown);
    let next = STEP;
    const more = make("button", { type: "button", onclick: () => {
      const added = rows(attempts.slice(next, next + STEP)).map((row) => make("tr", {}, ...cells("td", row)));
      shown.tBodies[0].append(...added);
      next += STEP;
      if (next >= attempts.length) more.remove();
    } }, "More of this batch");
    if (attempts.length > STEP) block.append(more);
    return block;
  }
  function outcomes(run) {
    const batches = new Map();
    for (const one of run.attempts) {
      if (!batches.has(one[0])) batches.set(one[0], []);
      batches.get(one[0]).push(one);
    }
    const about = make("p", {}, "Run ", make("code", {}, run.id), run.message ? ": " : "", said(run.message));
    return make("div", {}, about, ...[...batches].map(([number, attempts]) => batch(number, attempts)));
  }
  function runRow(run) {
    const at = run.batches ? `${run.batch} of ${run.batches}` : "";
    const rest = [said(run.what), chip(run.state, run.state), fixed(at), said(run.counts), said(run.actor), said(run.reason),
      time(run.created), time(run.ended)];
    return opening(fixed(run.verb), cells("td", rest), 9, () => outcomes(run));
  }
  function drawRuns() {
    const names = ["Run", "What", "State", "Batch", "Instances", "Actor", "Reason", "Created (UTC)", "Ended"];
    by("run-table").tHead.replaceChildren(make("tr", {}, ...cells("th", names)));
    pager(by("run-table").tBodies[0], by("run-pages"), "runs")(data.runs, runRow);
  }

  function themes() {
    const paint = (isDark) => {
      document.documentElement.dataset.theme = isDark ? "dark" : "light";
      by("theme").textContent = isDark ? "Light" : "Dark";
    };
    const wish = matchMedia("(prefers-color-scheme: dark)");
    wish.addEventListener("change", () => paint(wish.matches));
    by("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme !== "dark"));
    let before = null;
    addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; paint(false); });
    addEventListener("afterprint", () => paint(before === "dark"));
    paint(wish.matches);
  }

  themes();
  listen();
  by("about").textContent = clear(`${data.title}, as the ledger knew it at ${data.made} UTC`);
  drawStandings();
  drawMatrix();
  drawVersions();
  drawRuns();
})();
