// The explorer of CKA: a map, and what a point of it is made of. The library makes its data in cka.py.

seelikeExplorers.start.cka = (place, data) => {
  const { make, bytes, paint, onLook, number } = seelikeExplorers;
  const UNDEFINED = -32768;
  const { networks, images } = data;
  const n = images.count;
  const pairs = (n * (n - 1)) / 2;
  const colours = { cka: bytes(data.colours.cka), alike: bytes(data.colours.alike) };
  const states = data.states.map((state) => ({
    name: state.name,
    cka: new Int16Array(bytes(state.cka).buffer),
    alike: new Int8Array(bytes(state.alike).buffer),
    steps: state.steps,
  }));

  // All layers of all networks are counted through; of the square of all with all the upper half is there.
  let all = 0;
  for (const network of networks) {
    network.start = all;
    all += network.layers.length;
  }
  function cka(state, i, j) {
    const [a, b] = i < j ? [i, j] : [j, i];
    const value = state.cka[a * all - (a * (a - 1)) / 2 + b - a];
    return value === UNDEFINED ? NaN : value / 10000;
  }

  // The pairs of images, in the order of the data.
  const first = [], second = [], pairOf = [];
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      pairOf[i * n + j] = pairOf[j * n + i] = first.length;
      first.push(i);
      second.push(j);
    }
  }
  function alike(state, layer) {
    const step = state.steps[layer];
    return step === 0 ? null : Float32Array.from(state.alike.subarray(layer * pairs, (layer + 1) * pairs), (x) => x * step);
  }
  const shown = (pair) => images.thumbnails[first[pair]] >= 0 && images.thumbnails[second[pair]] >= 0;

  // What is chosen: the networks upwards and across, before or after training, the cell that is open, the one that
  // the reader points at, and a pair of images.
  let [up, across] = data.pair.map((place) => networks[place]);
  let state = states[0];
  let open = { row: 0, column: 0 }, pointed = open;
  let x = null, y = null, ofThese = NaN, chosen = null, aim = [0, 1], listed = [];

  const rows = () => up.layers.length;
  const columns = () => across.layers.length;
  const value = (cell, of = state) => cka(of, up.start + cell.row, across.start + cell.column);

  // ---- What the reader sees

  const menu = make("select", { "aria-label": "Networks of the map", onchange: () => choosePair(menu.value) });
  const [within, between] = ["Within one network", "Between two networks"].map((label) => make("optgroup", { label }));
  networks.forEach((one, a) => {
    networks.slice(a).forEach((other, more) => {
      const group = more ? between : within;
      group.append(make("option", { value: `${a} ${a + more}`, textContent: more ? `${one.name} and ${other.name}` : one.name }));
    });
  });
  menu.append(within, ...(between.children.length ? [between] : []));
  const name = `when-${Math.random().toString(36).slice(2)}`;
  const times = states.map((each, number) => make("label", {}, make("input", {
    type: "radio", name, value: String(number), checked: number === 0, onchange: () => chooseState(each),
  }), make("span", { textContent: each.name })));
  const controls = make("div", { class: "controls" }, make("label", {}, make("span", { textContent: "Networks " }), menu));
  if (states.length > 1) controls.append(make("div", { class: "choice", role: "radiogroup", "aria-label": "Training" }, ...times));

  const map = make("canvas", { tabIndex: 0, role: "application", "aria-roledescription": "map of CKA" });
  const cross = { row: make("i", { class: "row" }), column: make("i", { class: "column" }), cell: make("i", { class: "cell" }) };
  const pointer = make("i", { class: "pointer" });
  const field = make("div", { class: "field" }, map, ...Object.values(cross), pointer);
  const ticks = { up: make("div", { class: "ticks up" }), across: make("div", { class: "ticks across" }) };
  const titles = { up: make("div", { class: "title up" }), across: make("div", { class: "title across" }) };
  const bar = make("canvas");
  paint(bar, 256, 1, colours.cka, (_, column) => column);
  const scale = make("div", { class: "scale", "aria-hidden": "true" }, make("span", { textContent: "CKA 0" }), bar, make("span", { textContent: "1" }));
  const hint = make("p", { class: "small hint", textContent: "Point at the map to read it; click, or press Enter, to see what a point is made of." });
  const mapFigure = make("div", { class: "map" }, titles.up, ticks.up, field, ticks.across, titles.across, scale, hint);

  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const cloud = make("canvas", { role: "img" });
  const cloudText = make("p", { class: "small" });
  const cloudFigure = make("div", { class: "cloud" }, readout, cloud, cloudText);

  const grams = ["up", "across"].map((side) => {
    const canvas = make("canvas", { tabIndex: 0, role: "application", "aria-roledescription": "Gram matrix" });
    const marks = [make("i", { class: "mark" }), make("i", { class: "mark" })];
    const title = make("p", { class: "small" });
    const choose = (i, j) => i !== j && choosePictures(pairOf[i * n + j], [i, j]);
    canvas.onpointermove = canvas.onpointerdown = (event) => choose(...cellAt(canvas, event, n, n));
    canvas.onkeydown = (event) => {
      const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
      if (!(down || right) || chosen === null) return;
      event.preventDefault();
      let [i, j] = aim;
      do [i, j] = [(i + down + n) % n, (j + right + n) % n]; while (i === j);
      choose(i, j);
    };
    return { side, canvas, marks, title, box: make("div", { class: "gram" }, title, make("div", { class: "field" }, canvas, ...marks)) };
  });
  const alikeBar = make("canvas");
  paint(alikeBar, 256, 1, colours.alike, (_, column) => column);
  const alikeScale = make("div", { class: "scale wide", "aria-hidden": "true" }, make("span", { textContent: "unlike" }), alikeBar, make("span", { textContent: "alike" }));
  const pictures = make("div", { class: "pictures", "aria-live": "polite" });
  const lists = make("div", { class: "lists" });
  const credit = make("p", { class: "small credit", textContent: [data.note, data.credit].filter(Boolean).join(" ") });

  // A thumbnail is a part of one picture with all of them.
  function thumbnail(image) {
    const at = images.thumbnails[image];
    if (at < 0) return make("span", { class: "thumbnail none", role: "img", "aria-label": images.names[image] });
    const { src, columns: across_, rows: down } = images.sheet;
    const part = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
    const style = `background-image: url("${src}"); background-size: ${100 * across_}% ${100 * down}%; ` +
      `background-position: ${part(at % across_, across_)}% ${part(Math.floor(at / across_), down)}%`;
    return make("span", { class: "thumbnail", style, role: "img", "aria-label": images.names[image], title: images.names[image] });
  }

  // ---- The map

  function cellAt(canvas, event, down, right) {
    const box = canvas.getBoundingClientRect();
    const part = (at, from, size, count) => Math.max(0, Math.min(count - 1, Math.floor(((at - from) / size) * count)));
    return [part(event.clientY, box.top, box.height, down), part(event.clientX, box.left, box.width, right)];
  }

  function drawMap() {
    const [down, right] = [rows(), columns()];
    paint(map, right, down, colours.cka, (row, column) => {
      // The first layers are at the lower left.
      const found = value({ row: down - 1 - row, column });
      return Number.isNaN(found) ? null : 255 * found;
    });
    for (const [side, network, property] of [["up", up, "bottom"], ["across", across, "left"]]) {
      // The number of a block is at the middle of its layers.
      const blocks = [...new Set(network.blocks)].filter((block) => block !== null);
      const each = Math.max(1, Math.ceil(blocks.length / 7));
      ticks[side].replaceChildren(...blocks.filter((_, at) => at % each === 0).map((block) => {
        const middle = (network.blocks.indexOf(block) + network.blocks.lastIndexOf(block) + 1) / 2;
        return make("span", { textContent: String(block), style: `${property}: ${(100 * middle) / network.layers.length}%` });
      }));
      titles[side].textContent = `${network.name}, layers by block`;
    }
    map.setAttribute("aria-label",
      `Map of CKA: layers of ${up.name} upwards, of ${across.name} across. Arrow keys move, with Shift by ten layers, Enter opens a point.`);
  }

  function say(cell) {
    const [a, b] = [up.layers[cell.row], across.layers[cell.column]];
    const text = (found) => (Number.isNaN(found) ? "not defined" : number(found, 3));
    const now = value(cell);
    const strong = make("strong", { textContent: `CKA ${text(now)}` });
    const others = states.filter((other) => other !== state).map((other) => make("span", {
      class: "layer small", textContent: `${other.name}: ${text(value(cell, other))}`,
    }));
    readout.replaceChildren(
      make("span", { class: "layer" }, make("b", { textContent: "\u2191 " }), `${up.name}: ${a}`),
      make("span", { class: "layer" }, make("b", { textContent: "\u2192 " }), `${across.name}: ${b}`),
      make("span", { class: "layer" }, strong, Number.isNaN(now) ? ": one of them shows every image the same." : ""),
      ...others,
    );
    const percent = (part, count) => `${(100 * part) / count}%`;
    Object.assign(pointer.style, {
      left: percent(cell.column, columns()), width: percent(1, columns()), bottom: percent(cell.row, rows()), height: percent(1, rows()),
    });
    pointer.hidden = cell === open;
  }

  function point(cell) {
    pointed = cell;
    say(cell);
  }

  function cellOf(event) {
    const [row, column] = cellAt(map, event, rows(), columns());
    return { row: rows() - 1 - row, column };
  }

  map.onpointermove = (event) => point(cellOf(event));
  map.onpointerleave = () => point(open);
  // A finger has left the map before its click comes, so what it pointed at is forgotten by then.
  map.onclick = (event) => openCell(cellOf(event));
  map.onkeydown = (event) => {
    const by = event.shiftKey ? 10 : 1;
    const [upwards, right] = {
      ArrowUp: [by, 0], ArrowDown: [-by, 0], ArrowRight: [0, by], ArrowLeft: [0, -by],
      Home: [0, -columns()], End: [0, columns()], PageUp: [rows(), 0], PageDown: [-rows(), 0],
    }[event.key] ?? [0, 0];
    if (event.key === "Enter" || event.key === " ") openCell(pointed);
    else if (upwards || right) {
      const within_ = (place, count) => Math.max(0, Math.min(count - 1, place));
      point({ row: within_(pointed.row + upwards, rows()), column: within_(pointed.column + right, columns()) });
    } else return;
    event.preventDefault();
  };

  // ---- What a point is made of

  function openCell(cell) {
    open = pointed = cell;
    const percent = (place, count) => `${(100 * (place + 0.5)) / count}%`;
    cross.row.style.bottom = cross.cell.style.bottom = percent(cell.row, rows());
    cross.column.style.left = cross.cell.style.left = percent(cell.column, columns());
    y = alike(state, up.start + cell.row);
    x = alike(state, across.start + cell.column);
    ofThese = x && y ? x.reduce((sum, each, pair) => sum + each * y[pair], 0) / pairs : NaN;
    say(cell);
    drawGrams();
    list();
    drawCloud();
  }

  function drawGrams() {
    for (const { side, canvas, title } of grams) {
      const [values, network, layer] = side === "up" ? [y, up, open.row] : [x, across, open.column];
      paint(canvas, n, n, colours.alike, (i, j) => (i === j || !values ? null : 127.5 * (1 + values[pairOf[i * n + j]] / data.far)));
      title.replaceChildren(make("b", { textContent: side === "up" ? "\u2191 " : "\u2192 " }), `${network.layers[layer]} of ${network.name}`);
      canvas.setAttribute("aria-label", `Gram matrix of ${network.layers[layer]} of ${network.name}: how alike it finds each two of ${n} images. Arrow keys choose another pair.`);
    }
  }

  function list() {
    const by = [...Array(pairs).keys()].filter((pair) => x && y && shown(pair));
    by.sort((p, q) => Math.abs(x[q] * y[q]) - Math.abs(x[p] * y[p]));
    const kinds = [
      ["Both find alike", (p) => x[p] > 0 && y[p] > 0],
      ["Both find unlike", (p) => x[p] < 0 && y[p] < 0],
      ["Only \u2191 finds alike", (p) => y[p] > 0 && x[p] < 0],
      ["Only \u2192 finds alike", (p) => x[p] > 0 && y[p] < 0],
    ];
    listed = [];
    lists.replaceChildren(...kinds.map(([title, belongs]) => {
      const some = by.filter(belongs).slice(0, data.listed);
      listed.push(...some);
      const buttons = some.map((pair) => make("button", {
        type: "button", onclick: () => choosePictures(pair), "aria-label": words(pair), "data-pair": String(pair),
      }, thumbnail(first[pair]), thumbnail(second[pair])));
      return make("div", {}, make("p", { class: "heading", textContent: title }), ...(some.length ? buttons : [make("p", { class: "small", textContent: "none" })]));
    }));
    choosePictures(listed[0] ?? null);
  }

  const words = (pair) => `${images.names[first[pair]]} and ${images.names[second[pair]]}: \u2191\u00a0${number(y[pair], 1, true)}, \u2192\u00a0${number(x[pair], 1, true)}`;

  // Each pair is at two places of a Gram matrix: `where` is the one that the reader is at.
  function choosePictures(pair, where = [first[pair], second[pair]]) {
    [chosen, aim] = [pair, where];
    for (const button of lists.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.pair) === pair));
    for (const { marks } of grams) {
      marks.forEach((mark, number) => {
        mark.hidden = pair === null;
        if (pair === null) return;
        const [i, j] = number ? [aim[1], aim[0]] : aim;
        Object.assign(mark.style, { top: `${(100 * i) / n}%`, left: `${(100 * j) / n}%`, width: `${100 / n}%`, height: `${100 / n}%` });
      });
    }
    if (pair === null || !x || !y) pictures.replaceChildren();
    else {
      const product = x[pair] * y[pair];
      pictures.replaceChildren(make("div", { class: "two" }, thumbnail(first[pair]), thumbnail(second[pair])),
        make("p", { class: "small" }, make("span", { textContent: words(pair) }), make("span", {
          textContent: `Product ${number(product, 1, true)}: this pair ${product < 0 ? "lowers" : "raises"} CKA.`,
        })));
    }
    drawCloud();
  }

  // The place of a pair in the cloud; what lies far out is at the rim.
  const limit = data.far * 1.06;
  const at = (value_, size) => (size * (Math.max(-data.far, Math.min(data.far, value_)) + limit)) / (2 * limit);

  function drawCloud() {
    const size = cloud.clientWidth;
    if (!size) return;
    const fine = window.devicePixelRatio || 1;
    cloud.width = cloud.height = size * fine;
    const style = getComputedStyle(place);
    const [ink, faint, mark] = ["--ink", "--line", "--mark"].map((name_) => style.getPropertyValue(name_).trim());
    const context = cloud.getContext("2d");
    context.scale(fine, fine);
    context.strokeStyle = faint;
    context.beginPath();
    context.moveTo(size / 2, 0);
    context.lineTo(size / 2, size);
    context.moveTo(0, size / 2);
    context.lineTo(size, size / 2);
    context.stroke();
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(0, size);
    context.lineTo(size, 0);
    context.stroke();
    context.setLineDash([]);
    if (x && y) {
      const dot = (pair, radius) => {
        context.beginPath();
        context.arc(at(x[pair], size), size - at(y[pair], size), radius, 0, 2 * Math.PI);
        context.fill();
      };
      context.fillStyle = ink;
      context.globalAlpha = 0.35;
      for (let pair = 0; pair < pairs; pair++) dot(pair, 2);
      context.globalAlpha = 1;
      for (const pair of listed) dot(pair, 2.5);
      if (chosen !== null) {
        context.fillStyle = mark;
        dot(chosen, 6);
      }
    }
    cloudText.textContent = x && y
      ? `A dot for each of ${pairs} pairs of images: how much more alike than the average (0) they are in the layer across (\u2192) and upward (\u2191), in root mean squares, up to ${data.far}. The mean product of the two is CKA: of these ${n} images ${number(ofThese, 2)}. Full dots are the pairs below.`
      : "One of the layers shows every image the same: there is nothing to compare.";
    cloud.setAttribute("aria-label", cloudText.textContent);
  }

  cloud.onpointermove = cloud.onpointerdown = (event) => {
    if (!x || !y) return;
    const box = cloud.getBoundingClientRect();
    const [right, down] = [event.clientX - box.left, event.clientY - box.top];
    let best = null, nearest = 15 ** 2;
    for (let pair = 0; pair < pairs; pair++) {
      const distance = (at(x[pair], box.width) - right) ** 2 + (box.height - at(y[pair], box.height) - down) ** 2;
      if (distance < nearest) [best, nearest] = [pair, distance];
    }
    if (best !== null && best !== chosen) choosePictures(best);
  };

  // ---- Choices

  function choosePair(text) {
    const [a, b] = text.split(" ").map(Number);
    [up, across] = [networks[a], networks[b]];
    drawMap();
    // Of a network with itself the diagonal has nothing to tell: an upper layer with a lower one.
    openCell({ row: up.begin[1], column: across.begin[a === b ? 0 : 1] });
  }

  function chooseState(other) {
    state = other;
    drawMap();
    openCell(open);
  }

  place.replaceChildren(
    controls, make("div", { class: "top" }, mapFigure, cloudFigure),
    make("div", { class: "grams" }, ...grams.map(({ box }) => box), pictures, alikeScale), lists, credit,
  );
  menu.value = data.pair.join(" ");
  choosePair(menu.value);
  onLook(cloud, drawCloud);
};
