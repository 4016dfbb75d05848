/* Replace the still picture of a chart by an interactive view of the same specification, when it comes into sight. */
(() => {
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
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

  async function enliven(chart) {
    const still = chart.querySelector("svg");
    const specification = JSON.parse(chart.querySelector("script").textContent);
    await loadVega();
    const live = document.createElement("div");
    await window.pkdVega.embed(live, specification, {
      actions: false,
      renderer: "svg",
      tooltip: { theme: "pkd" },
    });
    const view = live.querySelector("svg");
    view.setAttribute("role", "img");
    view.setAttribute("aria-label", still.getAttribute("aria-label"));
    still.replaceWith(live);
    chart.dataset.state = "interactive";
  }

  document.addEventListener("DOMContentLoaded", () => {
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          if (!isIntersecting) continue;
          watcher.unobserve(target);
          // On failure the still picture stays, and the console says why.
          enliven(target).catch((error) => console.error("chart stays a picture:", error));
        }
      },
      { rootMargin: "400px" },
    );
    document.querySelectorAll(".pkd-chart").forEach((chart) => watcher.observe(chart));
  });
})();
