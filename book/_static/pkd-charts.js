/* Replace the still picture of a chart by an interactive view of the same specification, when it comes into sight.
   Where the column is narrower than the picture, its panels are stacked and made narrower; text keeps its size. */
(() => {
  if (new URLSearchParams(location.search).has("still")) return; // the page is printed
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const NARROWEST_PANEL = 80, USUAL_PANEL = 180; // pixels
  const NAMES = 190, NUMBERS = 50; // pixels of an axis that names what it shows, and of one that counts
  const LETTERS = 24; // of a line below a narrow panel
  const LETTER = 6.6, SYMBOL = 40; // about what a letter of a legend takes in width, and what stands around its words
  const WITH_LEGENDS = ["color", "fill", "stroke", "shape", "opacity", "strokeDash"];
  let bundle = null;

  function loadVega() {
    bundle ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${folder}vega-bundle.js`;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${script.src} was not loaded`));
      document.head.append(script);
    });
    return bundle;
  }

  /* Change each part of a specification, the inner ones first. */
  function walk(part, change) {
    if (Array.isArray(part)) return part.map((item) => walk(item, change));
    if (part === null || typeof part !== "object") return part;
    const inner = Object.entries(part).map(([name, value]) =>
      [name, ["config", "data", "datasets"].includes(name) ? value : walk(value, change)]);
    return change(Object.fromEntries(inner));
  }

  /* How many panels stand side by side. */
  function across(specification) {
    let count = 1;
    walk(specification, (part) => {
      const sorted = part.facet?.column?.sort?.length ?? part.facet?.sort?.length ?? 3;
      const besides = part.facet && (part.facet.column || !part.facet.row); // rows stand below each other
      if (besides) count = Math.max(count, Math.min(sorted, part.columns ?? sorted));
      if (part.concat) count = Math.max(count, Math.min(part.concat.length, part.columns ?? part.concat.length));
      if (part.hconcat) count = Math.max(count, part.hconcat.length);
      return part;
    });
    return count;
  }

  function stack(specification, columns) {
    return walk(specification, (part) => {
      if (part.hconcat) {
        const { hconcat, ...rest } = part;
        return { ...rest, concat: hconcat, columns };
      }
      if (part.facet?.column && !part.facet.row) {
        const { header, ...facet } = part.facet.column;
        const { labels, ...shown } = header ?? {}; // where a row of panels has no names, the panel above told them
        return { ...part, facet: { ...facet, header: shown }, columns };
      }
      if (part.facet?.row?.header) {
        // A row's name stands above the row, and may reach to the left over the names of its axis.
        const header = { ...part.facet.row.header, labelAnchor: "end", labelAlign: "right", labelFontSize: 12 };
        return { ...part, facet: { ...part.facet, row: { ...part.facet.row, header } } };
      }
      return part.columns && (part.facet || part.concat) ? { ...part, columns: Math.min(part.columns, columns) } : part;
    });
  }

  /* Titles of axes in lines of no more letters than a narrow panel has room for. */
  function breakTitles(specification) {
    return walk(specification, (part) => {
      const title = part.encoding?.x?.title;
      if (typeof title !== "string" || title.length <= LETTERS) return part;
      const lines = title.split(" ").reduce(([last, ...rest], word) =>
        last && `${last} ${word}`.length <= LETTERS ? [`${last} ${word}`, ...rest] : [word, ...(last ? [last] : []), ...rest], [""]);
      return { ...part, encoding: { ...part.encoding, x: { ...part.encoding.x, title: lines.reverse() } } };
    });
  }

  function widen(specification, share) {
    return walk(specification, (part) => {
      if (typeof part.width === "number" && (part.mark || part.layer))
        return { ...part, width: Math.max(NARROWEST_PANEL, Math.floor(part.width * share)) };
      if (part.width?.step) return { ...part, width: { step: part.width.step * share } };
      return part;
    });
  }

  /* Room that names keep free beside a panel, so that panels below each other begin at one line, is for wide screens. */
  function closeUp(specification) {
    return walk(specification, (part) => {
      const { minExtent, ...rest } = part;
      return minExtent === undefined ? part : rest;
    });
  }

  /* About the room that an axis takes beside the panels, at whose edge legends begin. */
  function besidePanels(specification) {
    let named = false;
    walk(specification, (part) => {
      named ||= part.encoding?.y?.type === "nominal";
      return part;
    });
    return named ? NAMES : NUMBERS;
  }

  /* Let a legend have no more columns than there is room for. */
  function foldLegends(specification, width) {
    return walk(specification, (part) => {
      if (!part.encoding) return part;
      const encoding = Object.entries(part.encoding).map(([channel, own]) => {
        const names = own.scale?.domain;
        if (!WITH_LEGENDS.includes(channel) || !Array.isArray(names) || own.legend === null) return [channel, own];
        const longest = Math.max(...names.map((name) => String(name).length));
        const room = Math.max(1, Math.floor(width / (longest * LETTER + SYMBOL)));
        const columns = Math.min(own.legend?.columns || names.length, room);
        return [channel, { ...own, legend: { ...own.legend, columns } }];
      });
      return { ...part, encoding: Object.fromEntries(encoding) };
    });
  }

  /* Legends stand below each other, not beside. */
  function stackLegends(specification) {
    const below = { direction: "vertical", anchor: "start" };
    const legend = { ...specification.config.legend, layout: { top: below, bottom: below } };
    return { ...specification, config: { ...specification.config, legend } };
  }

  /* How much of a picture's width is that of panels; the rest are axes and names, which keep theirs. */
  function panelsWidth(specification) {
    let widest = 0;
    walk(specification, (part) => {
      if (typeof part.width === "number" && (part.mark || part.layer)) widest = Math.max(widest, part.width);
      return part;
    });
    return (widest || USUAL_PANEL) * across(specification);
  }

  async function embed(live, controls, specification) {
    controls.replaceChildren();
    const { view } = await window.pkdVega.embed(live, specification, {
      actions: false,
      bind: controls,
      renderer: "svg",
      tooltip: { theme: "pkd" },
    });
    return { view, svg: live.querySelector("svg") };
  }

  async function enliven(chart) {
    const still = chart.querySelector("svg");
    const specification = JSON.parse(chart.querySelector("script").textContent);
    await loadVega();
    const room = chart.clientWidth, drawn = Number(still.getAttribute("width"));
    let fitted = specification;
    if (drawn > room) {
      const columns = Math.max(1, Math.floor((across(specification) * room) / drawn));
      fitted = stackLegends(foldLegends(breakTitles(closeUp(stack(specification, columns))), room - besidePanels(specification)));
    }
    const live = document.createElement("div"), controls = document.createElement("div");
    controls.className = "pkd-binds";
    live.style.visibility = "hidden";
    live.style.position = "absolute";
    chart.append(live); // within the page, whose font measures the text
    let { view, svg } = await embed(live, controls, fitted);
    const missing = () => svg.width.baseVal.value - room;
    for (let tries = 0; tries < 4 && (missing() > 0 || (tries === 0 && missing() < -0.1 * room && drawn > room)); tries++) {
      fitted = widen(fitted, Math.max(0.3, 1 - (missing() + 2) / panelsWidth(fitted)));
      view.finalize();
      ({ view, svg } = await embed(live, controls, fitted));
    }
    live.removeAttribute("style");
    svg.setAttribute("role", "img"); // described as a whole
    for (const part of svg.children) part.setAttribute("aria-hidden", "true");
    svg.setAttribute("aria-label", still.getAttribute("aria-label"));
    still.replaceWith(controls, live);
    chart.pkdView = view;
    chart.dataset.state = "interactive";
  }

  document.addEventListener("DOMContentLoaded", () => {
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          if (!isIntersecting) continue;
          watcher.unobserve(target);
          // On failure the still picture stays, and the console says why.
          enliven(target)
            .catch((error) => console.error("chart stays a picture:", error))
            .finally(() => document.dispatchEvent(new Event("pkd-resized")));
        }
      },
      { rootMargin: "400px" },
    );
    document.querySelectorAll(".pkd-chart").forEach((chart) => watcher.observe(chart));
  });
})();
