/* The schedule builder: train light exits by any schedule of teachers, in the page.

   A recording holds what light exits read of frozen networks, and the logits that teach. What follows is
   pkdlib.companion.experiments.recording.train in another language: softmax regression from weights of 0, batches in the
   order of the recording, Adam, a rate that falls tenfold at milestones. The browser test sets both against each other. */
(() => {
  if (new URLSearchParams(location.search).has("still")) return; // the page is printed
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const EXITS = [1, 2, 3], LOGIT_STEP = 1 / 128;
  const TRAIN = 0, TEST = 2;

  /* --- the recording ------------------------------------------------------------------------------------------- */

  function load(name) {
    return new Promise((resolve, reject) => {
      if (window.pkdRecordings?.[name]) return resolve(window.pkdRecordings[name]);
      const script = document.createElement("script");
      script.src = `${folder}recording-${name}.js`;
      script.onload = () => resolve(window.pkdRecordings[name]);
      script.onerror = () => reject(new Error(`${script.src} was not loaded`));
      document.head.append(script);
    });
  }

  function unpack({ type, shape, data }) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const values = { uint8: Uint8Array, int16: Int16Array, float32: Float32Array }[type];
    return { values: new values(bytes.buffer), shape };
  }

  function read(held) {
    const arrays = Object.fromEntries(Object.entries(held.arrays).map(([name, array]) => [name, unpack(array)]));
    const part = arrays.part.values, label = arrays.label.values;
    const rows = (wanted) => [...part.keys()].filter((row) => part[row] === wanted);
    const features = {}, ends = {};
    for (const network of held.networks) {
      ends[network] = { ...arrays[`ends/${network}`] };
      for (const exit of EXITS) {
        const name = `features/${network}/${exit}`, { values, shape } = arrays[name];
        const low = arrays[`${name}/low`].values, step = arrays[`${name}/step`].values, width = shape[1];
        const real = new Float32Array(values.length);
        for (let place = 0; place < values.length; place++) real[place] = low[place % width] + step[place % width] * values[place];
        features[`${network}/${exit}`] = { values: real, width };
      }
    }
    return { networks: held.networks, classes: held.classes, label, train: rows(TRAIN), test: rows(TEST), features, ends };
  }

  /* --- the training -------------------------------------------------------------------------------------------- */

  function softmax(logits, temperature, into) {
    let highest = -Infinity, sum = 0;
    for (const value of logits) highest = Math.max(highest, value);
    for (let c = 0; c < logits.length; c++) sum += into[c] = Math.exp((logits[c] - highest) / temperature);
    for (let c = 0; c < logits.length; c++) into[c] /= sum;
  }

  function newExit(width, classes) {
    const size = classes * (width + 1); // the biases stand behind the weights
    return { width, weights: new Float32Array(size), gradient: new Float64Array(size), mean: new Float64Array(size),
      square: new Float64Array(size) };
  }

  function answer(exit, features, row, classes, into) {
    const { width, weights } = exit, first = row * width, biases = classes * width;
    for (let c = 0; c < classes; c++) {
      let sum = weights[biases + c];
      for (let place = 0, at = c * width; place < width; place++) sum += weights[at + place] * features[first + place];
      into[c] = sum;
    }
  }

  function adam(exit, rate, steps, eps) {
    const { weights, gradient, mean, square } = exit;
    const first = 1 - 0.9 ** steps, second = Math.sqrt(1 - 0.999 ** steps);
    for (let place = 0; place < weights.length; place++) {
      const slope = gradient[place];
      mean[place] += 0.1 * (slope - mean[place]);
      square[place] += 0.001 * (slope * slope - square[place]);
      weights[place] -= (rate / first) * mean[place] / (Math.sqrt(square[place]) / second + eps);
      gradient[place] = 0;
    }
  }

  function teacherAt(stages, progress) {
    let end = 0;
    for (const { teacher, share } of stages) if (progress < (end += share) - 1e-9) return teacher;
    return stages.at(-1).teacher;
  }

  /* Train nine exits; gives their test accuracies, `network/exit` -> per cent. */
  async function train(recording, settings, { stages, labelWeight, temperature }, progress = () => {}) {
    const { classes, label, features, ends } = recording, exits = {};
    for (const [name, { width }] of Object.entries(features)) exits[name] = newExit(width, classes);
    const logits = new Float64Array(classes), given = new Float64Array(classes);
    const own = new Float64Array(classes), soft = new Float64Array(classes), taught = new Float64Array(classes);
    let steps = 0;
    for (let epoch = 0; epoch < settings.epochs; epoch++) {
      const done = epoch / settings.epochs, teacher = teacherAt(stages, done);
      const fallen = settings.milestones.filter((milestone) => done >= milestone - 1e-9).length;
      const rate = settings.lr * 0.1 ** fallen, weight = teacher === "labels" ? 1 : labelWeight;
      for (let first = 0; first < recording.train.length; first += settings.batch_size) {
        const batch = recording.train.slice(first, first + settings.batch_size);
        steps++;
        for (const [name, exit] of Object.entries(exits)) {
          const network = name.split("/")[0], taughtBy = teacher === "own" ? network : teacher, { width, gradient } = exit;
          const seen = features[name].values;
          for (const row of batch) {
            answer(exit, seen, row, classes, logits);
            softmax(logits, 1, own);
            if (weight < 1) {
              for (let c = 0; c < classes; c++) given[c] = ends[taughtBy].values[row * classes + c] * LOGIT_STEP;
              softmax(given, temperature, taught);
              softmax(logits, temperature, soft);
            }
            const from = row * width;
            for (let c = 0; c < classes; c++) {
              let slope = weight * (own[c] - (label[row] === c));
              if (weight < 1) slope += (1 - weight) * temperature * (soft[c] - taught[c]);
              slope /= batch.length;
              const at = c * width;
              for (let place = 0; place < width; place++) gradient[at + place] += slope * seen[from + place];
              gradient[classes * width + c] += slope;
            }
          }
          adam(exit, rate, steps, settings.eps);
        }
      }
      progress((epoch + 1) / settings.epochs);
      await new Promise((resolve) => setTimeout(resolve));
    }
    const accuracies = {};
    for (const [name, exit] of Object.entries(exits)) {
      let right = 0;
      for (const row of recording.test) {
        answer(exit, features[name].values, row, classes, logits);
        right += logits.indexOf(Math.max(...logits)) === label[row];
      }
      accuracies[name] = (100 * right) / recording.test.length;
    }
    return accuracies;
  }

  /* --- the page ------------------------------------------------------------------------------------------------ */

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  const mean = (accuracies) => Object.values(accuracies).reduce((sum, value) => sum + value, 0) / Object.keys(accuracies).length;

  function build(root) {
    const told = JSON.parse(root.querySelector("script").textContent), { settings, names, colours, library } = told;
    const teachers = Object.keys(names.teachers);
    const stages = told.stages.map(([teacher, epochs], number) => {
      const choice = element("select", { ariaLabel: `teacher of stage ${number + 1}` },
        ...teachers.map((key) => element("option", { value: key, textContent: names.teachers[key], selected: key === teacher })));
      const length = element("input", { type: "range", min: 0, max: settings.epochs, step: 1, value: epochs,
        ariaLabel: `epochs of stage ${number + 1}` });
      return { choice, length, shown: element("output") };
    });
    const weight = element("input", { type: "range", min: 0, max: 1, step: 0.25, value: 0, ariaLabel: "weight of the labels" });
    const heat = element("input", { type: "range", min: 1, max: 4, step: 1, value: 1, ariaLabel: "temperature" });
    const weightShown = element("output"), heatShown = element("output");
    const timeline = element("div", { className: "pkd-timeline", role: "img" });
    const button = element("button", { type: "button", className: "pkd-button", textContent: "Train nine exits" });
    const said = element("p", { className: "pkd-said", role: "status", textContent: "Nothing is trained yet." });
    const body = element("tbody"), trained = element("table", { className: "pkd-table" },
      element("caption", { textContent: "Test accuracy of each exit, per cent" }),
      element("thead", {}, element("tr", {}, ...["network", "exit", "yours", "labels alone", "PKD"].map((text) =>
        element("th", { scope: "col", textContent: text })))), body);

    function chosen() {
      // Stages in turn until the epochs are used up; what is left over goes to the last.
      let left = settings.epochs;
      const taken = stages.map(({ choice, length }, number) => {
        const epochs = number === stages.length - 1 ? left : Math.min(Number(length.value), left);
        left -= epochs;
        return { teacher: choice.value, epochs, share: epochs / settings.epochs };
      });
      return { all: taken, stages: taken.filter((stage) => stage.epochs), labelWeight: Number(weight.value), temperature: Number(heat.value) };
    }

    function draw() {
      const { all, stages: taught, labelWeight, temperature } = chosen();
      stages.forEach(({ length, shown }, number) => {
        shown.textContent = `${all[number].epochs} of ${settings.epochs} epochs`;
        length.value = all[number].epochs;
      });
      weightShown.textContent = `${labelWeight}`;
      heatShown.textContent = `${temperature}`;
      timeline.replaceChildren(...taught.map(({ teacher, share }) => {
        const bar = element("span", { textContent: names.teachers[teacher] });
        bar.style.flexGrow = share;
        bar.style.borderColor = colours[teacher];
        return bar;
      }));
      timeline.ariaLabel = `Schedule: ${taught.map(({ teacher, epochs }) => `${names.teachers[teacher]} for ${epochs} epochs`).join(", then ")}`;
    }

    function fill(yours) {
      body.replaceChildren(...Object.keys(library.ce).map((key) => {
        const [network, exit] = key.split("/"), row = element("tr");
        row.append(element("th", { scope: "row", textContent: names.networks[network] }), element("td", { textContent: `IC ${exit}` }));
        for (const [who, value] of [["yours", yours?.[key]], ["ce", library.ce[key]], ["pkd", library.pkd[key]]]) {
          const cell = element("td", { textContent: value === undefined ? "" : value.toFixed(1) });
          cell.dataset.value = `${who}/${key}`;
          if (value !== undefined) cell.append(bar(value, colours[network]));
          row.append(cell);
        }
        return row;
      }));
    }

    function bar(value, colour) {
      const made = element("span", { className: "pkd-bar", ariaHidden: "true" });
      made.style.width = `${0.45 * value}px`; // one scale in all columns
      made.style.background = colour;
      return made;
    }

    async function run() {
      button.disabled = true;
      try {
        said.textContent = "Reading the recording ...";
        root.pkdRecording ??= read(await load(told.recording));
        const began = performance.now(), schedule = chosen();
        const yours = await train(root.pkdRecording, settings, schedule, (share) => {
          said.textContent = `Training: ${Math.round(100 * share)} %`;
        });
        fill(yours);
        const seconds = ((performance.now() - began) / 1000).toFixed(1);
        const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;
        said.textContent = `Yours: ${mean(yours).toFixed(1)} % on average over the nine exits, ` +
          `${signed(mean(yours) - mean(library.ce))} points against labels alone and ` +
          `${signed(mean(yours) - mean(library.pkd))} against PKD. Trained in ${seconds} s.`;
        root.dataset.state = "trained";
      } catch (error) {
        said.textContent = `Nothing was trained: ${error.message}`;
        console.error(error);
      } finally {
        button.disabled = false;
      }
    }

    const controls = element("div", { className: "pkd-controls" },
      ...stages.map(({ choice, length, shown }, number) => element("div", { className: "pkd-control" },
        element("span", { textContent: `Stage ${number + 1}` }), choice, length, shown)),
      element("div", { className: "pkd-control" }, element("span", { textContent: "Weight of the labels" }), weight, weightShown),
      element("div", { className: "pkd-control" }, element("span", { textContent: "Temperature" }), heat, heatShown));
    stages.at(-1).length.disabled = true; // it takes what the others leave
    controls.addEventListener("input", () => {
      draw();
      root.dataset.state = "changed";
    });
    button.addEventListener("click", run);
    root.querySelector(".pkd-instead")?.remove();
    root.append(controls, timeline, button, said, element("div", { className: "pkd-results" }, trained));
    draw();
    fill();
    root.dataset.state = "ready";
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".pkd-schedules").forEach(build));
})();
