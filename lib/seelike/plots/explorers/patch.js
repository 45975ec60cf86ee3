// The explorer of one patch: where each head looks from it, which patches are like it, and its receptive field. The
// library makes its data in patch.py.

seelikeExplorers.start.patch = (place, data) => {
  const { make, bytes, paint, number } = seelikeExplorers;
  const UNDEFINED = -32768;
  const [rows, columns] = data.grid;
  const patches = rows * columns;
  const { networks, pictures } = data;
  const first = networks[0];
  const colours = { share: bytes(data.colours.share), alike: bytes(data.colours.alike) };

  // Rows of numbers in steps of each row's own largest one: see in_levels in bundle.py.
  function inLevels({ levels, steps }) {
    const all = new Int8Array(bytes(levels).buffer);
    return (row) => Float64Array.from(all.subarray(row * patches, (row + 1) * patches), (level) => level * steps[row]);
  }
  const whole = (text) => new Int16Array(bytes(text).buffer);
  const unpacked = data.states.map((of) => of.map((blocks) => blocks.map((block) => ({
    alike: whole(block.alike),
    field: inLevels(block.field),
    ...(block.attention && { attention: inLevels(block.attention), distance: whole(block.distance), prefix: whole(block.prefix) }),
  }))));

  // What is chosen: a picture, a block, the patch, and the patch at which the maps are read.
  let picture = 0, block = Math.floor((first.blocks.length - 1) / 2), chosen = data.begin, read = data.begin;

  // Of the square of all patches with all the upper half is there.
  function alike(of, p) {
    return Float64Array.from({ length: patches }, (_, q) => {
      const [a, b] = p < q ? [p, q] : [q, p];
      const value = of.alike[a * patches - (a * (a - 1)) / 2 + b - a];
      return value === UNDEFINED ? NaN : value / 10000;
    });
  }
  const at = (patch) => `row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1}`;
  const percent = (share) => `${number(100 * share, share < 0.0995 ? 1 : 0)}\u00a0%`;
  const cosine = (value) => (Number.isNaN(value) ? "not defined" : number(value, 2));
  const pixels = (value) => `${number(value, data.uniform < 50 ? 1 : 0)}\u00a0px`;

  // ---- What the reader sees

  const name = `picture-${Math.random().toString(36).slice(2)}`;
  const choices = pictures.names.map((each, place_) => make("label", {}, make("input", {
    type: "radio", name, value: String(place_), checked: place_ === 0, onchange: () => { picture = place_; load(); },
  }), make("span", { textContent: each })));
  const slider = make("input", {
    type: "range", min: "0", max: String(first.blocks.length - 1), step: "1", "aria-label": `Block of ${first.name}`,
    oninput: () => { block = Number(slider.value); show(); },
  });
  slider.value = String(block);
  const blockName = make("output", {});
  const controls = make("div", { class: "controls" });
  if (pictures.names.length > 1) controls.append(make("div", { class: "choice", role: "radiogroup", "aria-label": "Picture" }, ...choices));
  controls.append(make("label", { class: "slider" }, slider, blockName));

  // A map over the patches, or the picture itself, with a mark at the patch and one where it is read.
  function field(canvas) {
    const mark = make("i", { class: "here" }), aim = make("i", { class: "aim" });
    return { canvas, mark, aim, box: make("div", { class: "field" }, canvas, mark, aim) };
  }
  const image = field(make("canvas", { tabIndex: 0, role: "application", "aria-roledescription": "picture in patches" }));
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const hint = make("p", {
    class: "small", textContent: "Click a patch of the picture, or move with the arrow keys. To read the maps at another patch, point at it in any of them, or hold Shift.",
  });

  function tile() {
    const map = field(make("canvas", { role: "img" }));
    const [title, value] = [make("p", { class: "small" }), make("p", { class: "small value" })];
    const set = (event) => readAt(patchAt(map.canvas, event));
    map.canvas.onpointermove = map.canvas.onpointerdown = set;
    return { ...map, title, value, box: make("div", { class: "tile" }, title, map.box, value) };
  }
  const heads = Array.from({ length: first.heads }, tile);
  const seen = networks.map(() => ({ heading: make("p", { class: "heading" }), alike: tile(), field: tile() }));

  function scale(colours_, low, high) {
    const bar = make("canvas");
    paint(bar, 256, 1, colours_, (_, column) => column);
    return make("div", { class: "scale", "aria-hidden": "true" }, make("span", { textContent: low }), bar, make("span", { textContent: high }));
  }
  const headsHeading = make("p", { class: "heading" });
  const sides = seen.map(({ heading, alike: one, field: other }) =>
    make("div", {}, heading, make("div", { class: "tiles two" }, one.box, other.box)));
  const scales = make("div", { class: "scales" }, scale(colours.share, "nothing", "most in its map (square root)"), scale(colours.alike, "cosine \u22121", "1"));
  const credit = make("p", { class: "small credit", textContent: data.credit });

  // ---- Choosing

  function patchAt(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const part = (value, start, size, count) => Math.max(0, Math.min(count - 1, Math.floor(((value - start) / size) * count)));
    return part(event.clientY, box.top, box.height, rows) * columns + part(event.clientX, box.left, box.width, columns);
  }
  function choose(patch) {
    chosen = read = patch;
    show();
  }
  function readAt(patch) {
    if (patch === read) return;
    read = patch;
    say();
  }
  image.canvas.onclick = (event) => choose(patchAt(image.canvas, event));
  image.canvas.onkeydown = (event) => {
    const [down, right] = {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      Home: [0, -columns], End: [0, columns], PageUp: [-rows, 0], PageDown: [rows, 0],
    }[event.key] ?? [0, 0];
    if (!(down || right)) return;
    event.preventDefault();
    const from = event.shiftKey ? read : chosen;
    const within = (value, count) => Math.max(0, Math.min(count - 1, value));
    const to = within(Math.floor(from / columns) + down, rows) * columns + within((from % columns) + right, columns);
    if (event.shiftKey) readAt(to);
    else choose(to);
  };

  // ---- Drawing

  const photograph = new Image();
  photograph.onload = () => {
    const { canvas } = image;
    [canvas.width, canvas.height] = [photograph.naturalWidth, photograph.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(photograph, 0, 0);
    context.strokeStyle = "rgb(255 255 255 / 0.35)";
    context.beginPath();
    for (let column = 1; column < columns; column++) {
      context.moveTo((canvas.width * column) / columns, 0);
      context.lineTo((canvas.width * column) / columns, canvas.height);
    }
    for (let row = 1; row < rows; row++) {
      context.moveTo(0, (canvas.height * row) / rows);
      context.lineTo(canvas.width, (canvas.height * row) / rows);
    }
    context.stroke();
  };

  function load() {
    photograph.src = pictures.src[picture];
    show();
  }

  function put(mark, patch) {
    Object.assign(mark.style, {
      left: `${(100 * (patch % columns)) / columns}%`, top: `${(100 * Math.floor(patch / columns)) / rows}%`,
      width: `${100 / columns}%`, height: `${100 / rows}%`,
    });
  }

  // Shares: from nothing to the largest of this map, by their square root, so that what is weak is seen. Cosines: from -1 to 1.
  function draw(tile_, values, table) {
    const largest = values.reduce((most, value) => Math.max(most, value), 0);
    tile_.values = values;
    paint(tile_.canvas, columns, rows, table, (row, column) => {
      const value = values[row * columns + column];
      if (Number.isNaN(value)) return null;
      return table === colours.alike ? 127.5 * (1 + value) : 255 * Math.sqrt(value / (largest || 1));
    });
  }

  function show() {
    const now = unpacked[picture].map((blocks) => blocks[block]);
    const [own] = now;
    blockName.textContent = `${first.blocks[block]} of ${data.of}`;
    slider.setAttribute("aria-valuetext", blockName.textContent);
    headsHeading.textContent = `Where each head of ${first.name} looks, ${first.blocks[block]}`;
    heads.forEach((each, head) => {
      draw(each, own.attention(head * patches + chosen), colours.share);
      each.title.textContent = `Head ${head + 1}: ${pixels(own.distance[head * patches + chosen] / 10)}`;
      each.before = data.prefix ? `${data.prefix} ${percent(own.prefix[head * patches + chosen] / 1000)}` : "";
    });
    seen.forEach((each, place_) => {
      const [high, wide] = networks[place_].grids[block];
      each.heading.textContent = `${networks[place_].name}, ${networks[place_].blocks[block]} (${high} \u00d7 ${wide} places)`;
      each.alike.title.textContent = "Alike";
      each.field.title.textContent = "Receptive field";
      draw(each.alike, alike(now[place_], chosen), colours.alike);
      draw(each.field, now[place_].field(chosen), colours.share);
    });
    say();
  }

  function say() {
    const there = read === chosen ? "itself" : "there";
    for (const each of heads) {
      each.value.replaceChildren(...[`${there} ${percent(each.values[read])}`, each.before].filter(Boolean).map((textContent) => make("span", { class: "layer", textContent })));
    }
    for (const each of seen) {
      each.alike.value.textContent = `${there} ${cosine(each.alike.values[read])}`;
      each.field.value.textContent = `${there} ${percent(each.field.values[read])}`;
    }
    for (const each of [image, ...heads, ...seen.flatMap((one) => [one.alike, one.field])]) {
      put(each.mark, chosen);
      put(each.aim, read);
      each.aim.hidden = read === chosen;
    }
    const own = unpacked[picture][0][block];
    const far = heads.map((_, head) => own.distance[head * patches + chosen] / 10);
    const lines = [`Mean distance of its heads: ${pixels(Math.min(...far))} to ${pixels(Math.max(...far))}. Everywhere alike it would be ${pixels(data.uniform)}, on average over all patches.`];
    if (read !== chosen) {
      lines.push(`Read at ${at(read)}: ` + seen.map((each, place_) =>
        `${networks[place_].name} cosine ${cosine(each.alike.values[read])}, field ${percent(each.field.values[read])}`).join("; ") + ".");
    }
    readout.replaceChildren(make("strong", { class: "layer", textContent: `Patch in ${at(chosen)}` }),
      ...lines.map((textContent) => make("span", { class: "layer", textContent })));
    image.canvas.setAttribute("aria-label",
      `${pictures.names[picture]}, ${rows} by ${columns} patches. Chosen: ${at(chosen)}. Arrow keys choose another patch; with Shift they read the maps at another.`);
    for (const each of [...heads, ...seen.flatMap((one) => [one.alike, one.field])]) {
      each.canvas.setAttribute("aria-label", [each.title, ...(each.value.children.length ? each.value.children : [each.value])].map((one) => one.textContent).join("; "));
    }
  }

  place.replaceChildren(
    controls, make("div", { class: "patch-top" }, image.box, make("div", {}, readout, hint)),
    ...(heads.length ? [headsHeading, make("div", { class: "tiles heads" }, ...heads.map(({ box }) => box))] : []),
    make("div", { class: "sides" }, ...sides), scales, credit,
  );
  load();
};
