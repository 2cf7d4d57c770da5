"""A class stiffness matrix that moves through training: plain HTML, so that the front page shows it at once."""

import json
from html import escape

import numpy as np

from stiffness_book.charts.matrices import HEAT_MAP, in_words
from stiffness_book.charts.parts import after
from stiffness_book.words import signed

# ColorBrewer's RdBu, the scheme of STIFFNESS_SCALE, from -1 to 1
STOPS = ("67001f", "b2182b", "d6604d", "f4a582", "fddbc7", "f7f7f7", "d1e5f0", "92c5de", "4393c3", "2166ac", "053061")
SECONDS = 1.1  # that a stage is shown, or less
LASTS = 16  # seconds of all stages at the most

# The button plays the stages; the slider shows one. It plays by itself once, unless the reader wants no motion.
PLAYER = """
(() => {
  const figure = document.getElementById("%(id)s"), {colours, captions} = %(data)s, seconds = %(seconds)s;
  const cells = figure.querySelectorAll(".cell"), slider = figure.querySelector("input");
  const button = figure.querySelector("button"), caption = figure.querySelector("output");
  let timer;
  const show = stage => {
    slider.value = stage;
    slider.setAttribute("aria-valuetext", captions[stage][0]);
    captions[stage].forEach((line, k) => { caption.children[k].textContent = line; });
    cells.forEach((cell, k) => { cell.style.background = "#" + colours[stage].substr(6 * k, 6); });
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  const play = () => {
    show(0);
    button.textContent = "Pause";
    timer = setInterval(() => +slider.value < +slider.max ? show(+slider.value + 1) : stop(), 1000 * seconds);
  };
  button.addEventListener("click", () => timer ? stop() : play());
  slider.addEventListener("input", () => { stop(); show(+slider.value); });
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play();
})();
"""


def moving_matrix(matrices, *, of, id="moving-matrix"):
    """The HTML of a class stiffness matrix by sign with a button that plays the stages of training, and a slider.

    matrices, of: as in `matrix_panels`. Without JavaScript the last stage is shown.
    """
    matrices = matrices[matrices["kind"] == "sign"]
    steps, names = sorted(set(matrices["step"])), list(dict.fromkeys(matrices["class_a"]))
    colours, captions = [], []
    for step in steps:
        C = matrices[matrices["step"] == step].pivot(index="class_a", columns="class_b", values="mean")
        C = C.loc[names, names].to_numpy()
        own = np.eye(len(C), dtype=bool)
        colours.append("".join(map(_colour, C.ravel())))
        captions.append([after(step).capitalize(), f"within a class {signed(C[own].mean())}",
                         f"between classes {signed(C[~own].mean())}"])
    seconds = min(SECONDS, round(LASTS / len(steps), 2))
    data = json.dumps({"colours": colours, "captions": captions}, separators=(",", ":")).replace("<", "\\u003c")
    labels = [escape(name) for name in names]
    rows = [f"<b></b>{''.join(f'<b>{label}</b>' for label in labels)}"]
    for a, label in enumerate(labels):
        shades = [colours[-1][6 * k : 6 * k + 6] for k in range(a * len(names), (a + 1) * len(names))]
        cells = "".join(f'<i class="cell" style="background:#{shade}"></i>' for shade in shades)
        rows.append(f"<b>{label}</b>{cells}")
    description = escape(f"{HEAT_MAP} of {of}. {in_words(matrices, [steps[0], steps[-1]], ['sign'])}")
    parts = [
        f'<div class="cells" role="img" aria-label="{description}">{"".join(rows)}</div>',
        '<div class="player"><button type="button">Play</button><input type="range" min="0" '
        f'max="{len(steps) - 1}" value="{len(steps) - 1}" aria-label="stage of training"></div>',
        f'<output>{"".join(f"<span>{line}</span>" for line in captions[-1])}</output>',
        f'<div class="scale"><span>harms, −1</span><i style="background:linear-gradient(to right,'
        f'{",".join(f"#{stop}" for stop in STOPS)})"></i><span>+1, helps</span></div>',
    ]
    return (f'<figure class="moving-matrix" id="{id}" style="--classes:{len(names)}">{"".join(parts)}</figure>'
            f"<script>{PLAYER % {'id': id, 'data': data, 'seconds': seconds}}</script>")


def _colour(value):
    """The colour of a stiffness, as six hexadecimal digits; grey where it is unknown."""
    if not np.isfinite(value):
        return "888888"
    place = (np.clip(value, -1, 1) + 1) / 2 * (len(STOPS) - 1)
    low = min(int(place), len(STOPS) - 2)
    one, other = (np.array([int(stop[k : k + 2], 16) for k in (0, 2, 4)]) for stop in STOPS[low : low + 2])
    return "".join(f"{round(part):02x}" for part in one + (place - low) * (other - one))
