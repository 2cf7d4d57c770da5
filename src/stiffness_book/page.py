"""What every notebook of the book does before and after its own story."""

import os
import re
from html import escape

from IPython import get_ipython
from IPython.display import HTML, Markdown, display

from stiffness_book import sweep
from stiffness_book.charts import look
from stiffness_book.claims import CLAIMS, by_outcome, in_words, outcomes, picture
from stiffness_book.figures import assignments
from stiffness_book.words import name_of

INJECTED = "# Parameters"  # how papermill begins the cell that it puts after the parameters
JUDGED = ("A part holds if its interval excludes that there is no effect, after Holm’s correction for the number of "
          "parts, and its mean reaches the size that the rule asks for.")


def start():
    """Turns on the book's charts and returns the notebook's parameters by name. For the cell after the parameters.

    Raises NameError for a name that papermill injected and the parameters cell does not declare: papermill only logs a
    warning. Raises TypeError for text in place of a list or a dictionary, which is what `papermill -p` makes of them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # should a run have to be computed
    look.enable()
    names = get_ipython().user_ns
    known = names.get("__annotations__", {})  # the parameters cell annotates each of them
    injected = next((cell for cell in reversed(names["In"]) if cell.startswith(INJECTED)), "")
    given = {name for name, _ in assignments(injected)}
    if unknown := given - set(known):
        raise NameError(f"unknown parameter {', '.join(sorted(unknown))}; "
                        f"this notebook's are {', '.join(sorted(known))}")
    for name, kind in known.items():
        if kind in (list, dict) and isinstance(names[name], str):
            raise TypeError(f"{name} is the text {names[name]!r}; expected a {kind.__name__}, which papermill takes as "
                            f"YAML: papermill ... -y '{name}: {names[name]}'")
    return {name: names[name] for name in known}


def runs(experiments, *columns):
    """The runs' table with the settings `columns`, and their provenance. Missing runs are computed.

    Data sets have the names that people write. Says which runs diverged, if any did: what is drawn and judged is over
    the runs that were measured.
    """
    table, provenance = sweep.with_provenance(experiments, *columns)
    if "dataset" in columns:
        table = table.assign(dataset=table["dataset"].map(name_of))
    diverged = table[table["quantity"] == "diverged"]
    if len(diverged):
        each = [f"{', '.join(f'{row[name]}' for name in columns)}{': ' if columns else ''}seed {row['seed']} at step "
                f"{row['step']:,}" for _, row in diverged.iterrows()]
        say(f"**{len(diverged)} of {len(experiments)} runs diverged:** something was no longer a finite number "
            f"({'; '.join(each)}). Their training ended there. The means and intervals on this page are over the runs "
            "that were measured at a stage.")
    return table, provenance


def two_images(network):
    """Two of scikit-learn's handwritten digits, and the named network before training.

    Returns the compiled model, images (2, 8, 8, 1) and labels (2,).
    """
    import keras

    from stiffness_book import data, networks  # TensorFlow, which stored results do without
    from stiffness_book.experiment import Experiment

    digits = data.standardise(data.load("digits"))
    model = networks.build(Experiment(dataset="digits", network=network), digits.validation.inputs.shape[1:], 10)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, digits.validation.inputs[:2], digits.validation.labels[:2]


def summary(provenance):
    """Shows where the page's runs come from: networks, training, sizes, seeds, wall time, device, versions, commit."""
    first = provenance.iloc[0]
    wall = provenance["wall_time_s"]
    sizes = {name_of(settings["dataset"]): ", ".join(f"{n:,} {split}" for split, n in splits.items())
             for settings, splits in zip(provenance["settings"], provenance["split_sizes"])}

    def each(setting):  # all values that the runs have of it; an ensemble has several of its rates
        values = [settings.get(setting, settings.get(f"{setting}s")) for settings in provenance["settings"]]
        return ", ".join(dict.fromkeys(f"{one}" for value in values for one in (
            value if isinstance(value, list) else [value])))

    facts = {
        "number of runs": f"{len(provenance)}",
        "network": each("network"),
        "training": f"{each('optimizer')}, learning rate {each('learning_rate')}, "
                    f"batches of {each('batch_size').replace('None', 'all examples')}",
        **({"inputs": "each scaled to length 1"} if first["settings"].get("unit_length") else {}),
        "examples": "; ".join(f"{dataset}: {numbers}" for dataset, numbers in sizes.items()),
        **({"probe set": f"{first['settings']['probe_size']:,} validation examples, whose pairs are measured"}
           if "probe_size" in first["settings"] else {}),
        "seeds": ", ".join(map(str, sorted({settings["seed"] for settings in provenance["settings"]}))),
        "wall time of a run": " to ".join(dict.fromkeys(f"{time:,.0f}" for time in (wall.min(), wall.max()))) + " s",
        "device": ", ".join(sorted(set(provenance["device"]))),
        "versions": ", ".join(f"`{name}` {number}" for name, number in first["versions"].items()),
        "commit": ", ".join(sorted({commit[:12] for commit in provenance["commit"]}))
        + (", with changes" if provenance["dirty"].any() else ""),
    }
    say(f"| runs | {facts.pop('network')}, on {' and '.join(sizes)} |\n|---|---|\n"
        + "\n".join(f"| {name} | {fact} |" for name, fact in facts.items()))


def say(*texts):
    """Shows paragraphs of Markdown whose numbers come from a program; an empty one is not shown.

    HTML is shown as text: the name of a class, read from a result, must not become a script.
    """
    for text in texts:
        if text:
            display(Markdown(escape(text, quote=False)))


def show(chart, label, caption):
    """Shows a chart with a numbered caption below it, to which pages can link.

    label: "Figure 3a" or "Chart 1"; the address of the caption is #figure-3a, #chart-1.
    """
    display(chart)
    anchor = label.lower().replace(" ", "-")
    link = f'<a href="#{anchor}">{escape(label)}.</a>'
    display(HTML(f'<p class="chart-caption" id="{anchor}">{link} {escape(caption)}</p>'))


def front(name, shown):
    """Gives the front page something to show: a sentence with **strong** words, or an object with an output of its own.
    """
    if isinstance(shown, str):
        shown = HTML(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(shown, quote=False)))
    glue(f"front-{name}", shown)


def answer(text, *verdicts):
    """Shows a page's answer at its beginning: a sentence, and the claims with their verdicts."""
    say(text)
    lines = [f"<p>{_badge(verdict)} {escape(verdict.claim)}: {escape(CLAIMS[verdict.claim].statement)}</p>"
             for verdict in verdicts]
    display(HTML(f'<div class="answer">{"".join(lines)}</div>'))


def found(verdict, page=None):
    """Shows a verdict at the end of a figure's page, and glues its parts for the scorecard.

    page: the notebook's name, where more than one judges the claim; by default the claim's main page.
    """
    claim = CLAIMS[verdict.claim]
    lines = [f"| {escape(part.name, quote=False)} | {escape(in_words(part), quote=False)} | {outcome} |"
             for part, outcome in zip(verdict.parts, outcomes(verdict.parts))]
    table = "\n".join(["| part | measured | |", "|---|---|---|", *lines]) if lines else ""
    note = escape(f"{verdict.note[:1].upper()}{verdict.note[1:]}.", quote=False) if verdict.note else ""
    word = ", ".join(filter(None, [verdict.verdict, verdict.held]))
    short = "; ".join(f"{outcome}: {names}" for outcome, names in by_outcome(verdict.parts).items()
                      if outcome != "holds") if verdict.held else ""
    display(Markdown(f"**{claim.id}: {word}.** {escape(claim.statement, quote=False)}"
                     f"{escape(f' ({short}.)', quote=False) if short else ''}\n\n"
                     '<details class="verdict-details">\n<summary>What was measured, and the rule</summary>\n\n'
                     f"{table}\n\n{note}\n\n*The rule.* {escape(claim.rule, quote=False)}\n\n"
                     f"{JUDGED if verdict.parts else ''}\n\n</details>"))
    name = claim.key(page or next(iter(claim.pages)))
    glue(f"{name}-measured", HTML(escape(verdict.measured)))
    glue(f"{name}-verdict", HTML(_badge(verdict)))
    part = verdict.telling
    number = escape(verdict.note) if claim.question else (
        f"{escape(part.name)}: {picture(part)} {escape(in_words(part))}" if part else "")
    glue(f"{name}-number", HTML(number or "none"))


def _badge(verdict):
    """A verdict as a word with its colour, and how many parts hold."""
    held = f" <small>{verdict.held}</small>" if verdict.held else ""
    return f'<span class="verdict {verdict.verdict.replace(" ", "-")}">{verdict.verdict}</span>{held}'


def glue(name, shown):
    """Stores an object's output in the notebook under a name, for pages of the book to show."""
    try:
        from myst_nb import glue as store
    except ImportError:  # a notebook on its own, as in Colab, has no pages
        return
    store(name, shown, display=False)
