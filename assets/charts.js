/* Draws each chart when it comes near the screen, and offers its numbers and its picture below it. */
(() => {
  const folder = document.currentScript.src.replace(/charts\.js.*$/, "");
  const NEAR = "600px";
  const NARROW = 600; // pixels of the page's width, below which a chart takes its narrow shape
  const SECONDS = 1.1; // that a stage is shown while a chart plays
  const MOST_ROWS = 500; // of the table below a chart; the file has all
  const CHOICES = ["stage", "kind", "order"]; // that a reader has made
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

  /* viewOf(): what is shown; plain(): the same without the page's theme. */
  const offer = (spec, viewOf, plain, target) => {
    const name = document.title.split(/[—:]/)[0].trim().toLowerCase().replaceAll(/\W+/g, "-");
    const button = (text, action) => {
      const found = make("button", { type: "button", textContent: text });
      found.addEventListener("click", action);
      return found;
    };
    const text = (content, kind) => URL.createObjectURL(new Blob([content], { type: kind }));
    const details = make("details", { className: "chart-data" }, make("summary", { textContent: "Data and picture" }),
      button("Data (CSV)", () => save(text(csv(rows(spec, viewOf())), "text/csv"), `${name}.csv`)),
      button("Picture (SVG)", async () => save(text(await (await plain()).toSVG(), "image/svg+xml"), `${name}.svg`)),
      button("Picture (PNG)", async () => save(await (await plain()).toImageURL("png", 2), `${name}.png`)));
    details.addEventListener("toggle", () => {
      if (details.open && !details.querySelector("table")) {
        const table = rows(spec, viewOf());
        if (table.length > MOST_ROWS) details.append(make("p", { textContent: `The first ${MOST_ROWS} of ${table.length} rows:` }));
        details.append(make("div", { tabIndex: 0, className: "chart-rows" }, htmlTable(table)));
      }
    });
    target.after(details);
  };

  /* A slider over stages: the stage in words in place of its number, and a button that plays the stages. */
  const tellStages = (target, stages) => {
    const slider = target.querySelector('input[name="stage"]');
    const told = make("output"), button = make("button", { type: "button", textContent: "Play" });
    let timer;
    const tell = () => {
      told.textContent = stages[slider.value];
      slider.setAttribute("aria-valuetext", stages[slider.value]);
    };
    const show = stage => {
      slider.value = stage;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (+slider.value === stages.length - 1) show(0);
      button.textContent = "Pause";
      timer = setInterval(() => target.isConnected && +slider.value < stages.length - 1 ? show(+slider.value + 1) : stop(),
                          1000 * SECONDS);
    });
    slider.addEventListener("input", event => { if (event.isTrusted) stop(); tell(); });
    slider.nextElementSibling?.remove();
    slider.after(told);
    const bind = slider.closest(".vega-bind");
    bind.classList.add("stages");
    bind.prepend(button);
    tell();
  };

  const set = async (view, signals) => {
    for (const [name, value] of Object.entries(signals)) view.signal(name, value);
    return view.runAsync();
  };

  /* Texts on a canvas are not reached by the style sheet. */
  const inked = target => {
    const color = getComputedStyle(target).color, texts = { labelColor: color, titleColor: color };
    return { background: "transparent", axis: texts, legend: texts, text: { color },
             title: { color, subtitleColor: color } };
  };

  const draw = async script => {
    const target = script.parentElement.querySelector('div[id^="altair-viz-"]');
    const [spec, options] = JSON.parse(script.textContent);
    const { stages, narrow, embedOptions } = spec.usermeta ?? {};
    const onCanvas = embedOptions?.renderer === "canvas";
    if (target.clientWidth < NARROW) { // side by side becomes one below the other
      if (spec.hconcat) {
        spec.vconcat = spec.hconcat;
        delete spec.hconcat;
      }
      if (spec.concat) spec.columns = narrow?.columns ?? 1;
    }
    if (narrow && target.clientWidth < NARROW) {
      for (const panel of spec.concat ?? [spec]) {
        if (narrow.size) panel.width = panel.height = narrow.size;
        if (narrow.width) panel.width = narrow.width;
      }
      if (spec.concat) {
        if (narrow.labels === false) { // no room for them: pointing at a cell tells its classes
          for (const { encoding } of spec.concat) {
            for (const axis of [encoding.x.axis, encoding.y.axis].filter(Boolean)) axis.labels = false;
          }
        }
        if (narrow.order) { // pairs of panels: the second of each needs no axis of its own
          spec.concat = narrow.order.map(place => spec.concat[place]);
          for (const { encoding } of spec.concat.filter((_, place) => place % 2)) {
            encoding.y.axis = null;
            encoding.x.title = "";
          }
        }
        for (const panel of spec.concat.filter(one => typeof one.title === "string")) {
          panel.title = { text: panel.title, fontSize: 12 };
        }
      } else {
        spec.layer = spec.layer.filter(part => part.name !== narrow.without);
      }
    }
    await vega();
    const embed = async (signals = {}) => {
      const { view } = await vegaEmbed(target, spec, onCanvas ? { ...options, config: inked(target) } : options);
      await set(view, signals);
      if (stages) tellStages(target, stages);
      // an area that can be drawn has marks without a name; the chart's description stands for them
      target.querySelectorAll('[class*="_brush"][role]').forEach(mark => mark.removeAttribute("role"));
      return view;
    };
    let view = await embed();
    target.tabIndex = 0; // wide ones scroll
    const chosen = () => view.getState({ signals: name => CHOICES.includes(name), data: () => false }).signals;
    const plain = async () => {
      if (!onCanvas) return view; // whose theme is the style sheet's
      const { view: copy } = await vegaEmbed(make("div"), spec, options);
      return set(copy, chosen());
    };
    offer(spec, () => view, plain, target);
    if (onCanvas) new MutationObserver(async () => {
      const signals = chosen();
      view.finalize();
      view = await embed(signals);
    }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  };

  const near = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(entry => {
    near.unobserve(entry.target);
    draw(entry.target.parentElement.querySelector("script.chart"));
  }), { rootMargin: NEAR });
  document.querySelectorAll("script.chart").forEach(script =>
    near.observe(script.parentElement.querySelector('div[id^="altair-viz-"]')));
})();
