/* Draws each chart when it comes near the screen, and offers its numbers and its picture below it. */
(() => {
  const folder = document.currentScript.src.replace(/charts\.js.*$/, "");
  const NEAR = "600px";
  const MOST_ROWS = 500; // of the table below a chart; the file has all
  let loading;

  const vega = () => loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = folder + "vega.js";
    script.onload = done;
    script.onerror = () => failed(new Error("vega.js cannot be loaded"));
    document.head.append(script);
  });

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  /* The rows that the chart draws: those stored with it, or else those that it shows at the moment. */
  const rows = (spec, view) => {
    let tables = Object.values(spec.datasets ?? {});
    if (!tables.length) {
      const names = Object.keys(view.getState({ data: () => true }).data ?? {});
      tables = names.filter(name => /^(source|data)_/.test(name)).map(name => view.data(name));
    }
    const alike = Object.groupBy(tables.filter(table => table.length), table => Object.keys(table[0]).join());
    return Object.values(alike).map(group => group.flat()).reduce(
      (most, table) => table.length > most.length ? table : most, []).map(row => ({ ...row }));
  };

  const csv = table => {
    const columns = Object.keys(table[0] ?? {});
    const cell = value => /[",\n]/.test(value ?? "") ? `"${String(value).replaceAll('"', '""')}"` : value ?? "";
    return [columns, ...table.map(row => columns.map(name => row[name]))].map(line => line.map(cell).join(",")).join("\n");
  };

  const htmlTable = table => {
    const columns = Object.keys(table[0] ?? {});
    const head = make("tr", {}, ...columns.map(name => make("th", { scope: "col", textContent: name })));
    const lines = table.slice(0, MOST_ROWS).map(row =>
      make("tr", {}, ...columns.map(name => make("td", { textContent: row[name] ?? "" }))));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
  };

  const save = (address, name) => make("a", { href: address, download: name }).click();

  const offer = (spec, view, target) => {
    const name = document.title.split(/[—:]/)[0].trim().toLowerCase().replaceAll(/\W+/g, "-");
    const button = (text, action) => {
      const found = make("button", { type: "button", textContent: text });
      found.addEventListener("click", action);
      return found;
    };
    const text = (content, kind) => URL.createObjectURL(new Blob([content], { type: kind }));
    const details = make("details", { className: "chart-data" }, make("summary", { textContent: "Data and picture" }),
      button("Data (CSV)", () => save(text(csv(rows(spec, view)), "text/csv"), `${name}.csv`)),
      button("Picture (SVG)", async () => save(text(await view.toSVG(), "image/svg+xml"), `${name}.svg`)),
      button("Picture (PNG)", async () => save(await view.toImageURL("png", 2), `${name}.png`)));
    details.addEventListener("toggle", () => {
      if (details.open && !details.querySelector("table")) {
        const table = rows(spec, view);
        if (table.length > MOST_ROWS) details.append(make("p", { textContent: `The first ${MOST_ROWS} of ${table.length} rows:` }));
        details.append(make("div", { tabIndex: 0, className: "chart-rows" }, htmlTable(table)));
      }
    });
    target.after(details);
  };

  const draw = async script => {
    const target = script.parentElement.querySelector('div[id^="altair-viz-"]');
    const [spec, options] = JSON.parse(script.textContent);
    await vega();
    const { view } = await vegaEmbed(target, spec, options);
    target.tabIndex = 0; // wide ones scroll
    offer(spec, view, target);
  };

  const near = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(entry => {
    near.unobserve(entry.target);
    draw(entry.target.parentElement.querySelector("script.chart"));
  }), { rootMargin: NEAR });
  document.querySelectorAll("script.chart").forEach(script =>
    near.observe(script.parentElement.querySelector('div[id^="altair-viz-"]')));
})();
