"""What every notebook of the book does before and after its own story."""

import ast
import os
from html import escape

from IPython import get_ipython
from IPython.display import HTML, Markdown, display

from stiffness_book.charts import look

INJECTED = "# Parameters"  # how papermill begins the cell that it puts after the parameters


def start():
    """Turns on the book's charts and silences TensorFlow's log, should a run have to be computed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    look.enable()


def check_parameters():
    """Makes a misspelt `papermill -p` name an error: papermill only logs a warning. For the cell after the parameters.

    Raises NameError for a name that papermill injected and the parameters cell does not declare.
    """
    *_, declared, injected, _ = ["", "", *get_ipython().user_ns["In"]]
    if injected.startswith(INJECTED):
        known, given = _assigned(declared), _assigned(injected)
        if unknown := given - known:
            raise NameError(f"unknown parameter {', '.join(sorted(unknown))}; "
                            f"this notebook's are {', '.join(sorted(known))}")


def summary(provenance):
    """Shows where the page's runs come from: networks, training, sizes, seeds, wall time, device, versions, commit."""
    first = provenance.iloc[0]
    wall = provenance["wall_time_s"]
    sizes = {settings["dataset"]: ", ".join(f"{n:,} {split}" for split, n in splits.items())
             for settings, splits in zip(provenance["settings"], provenance["split_sizes"])}

    def each(setting):  # all values that the runs have of it
        return ", ".join(dict.fromkeys(f"{settings[setting]}" for settings in provenance["settings"]))

    facts = {
        "number": f"{len(provenance)}",
        "network": each("network"),
        "training": f"{each('optimizer')}, learning rate {each('learning_rate')}, batches of {each('batch_size')}",
        "examples": "; ".join(f"{dataset}: {numbers}" for dataset, numbers in sizes.items()),
        "probe set": f"{first['settings']['probe_size']:,} validation examples, whose pairs are measured",
        "seeds": ", ".join(map(str, sorted({settings["seed"] for settings in provenance["settings"]}))),
        "wall time of a run": f"{wall.min():,.0f} to {wall.max():,.0f} s",
        "device": ", ".join(sorted(set(provenance["device"]))),
        "versions": ", ".join(f"{name} {number}" for name, number in first["versions"].items()),
        "commit": ", ".join(sorted({commit[:12] for commit in provenance["commit"]}))
        + (", with changes" if provenance["dirty"].any() else ""),
    }
    say(f"| the runs | on {' and '.join(sizes)} |\n|---|---|\n"
        + "\n".join(f"| {name} | {fact} |" for name, fact in facts.items()))


def say(text):
    """Shows a paragraph whose numbers the cell has put in."""
    display(Markdown(text))


def found(verdict, name=None):
    """Shows a verdict at the end of a figure's page, and glues its parts for the scorecard.

    name: that they are glued under, where more than one page judges the claim; by default the claim's.
    """
    say(f"**{verdict.claim}: {verdict.verdict}.** {verdict.statement}\n\n*Measured:* {verdict.measured}.\n\n"
        f"*The rule.* {verdict.rule}")
    name = name or verdict.claim
    glue(f"{name}-measured", HTML(escape(verdict.measured)))
    kind = verdict.verdict.replace(" ", "-")  # for its colour
    glue(f"{name}-verdict", HTML(f'<span class="verdict {kind}">{verdict.verdict}</span>'))


def glue(name, shown):
    """Stores an object's output in the notebook under a name, for pages of the book to show."""
    try:
        from myst_nb import glue as store
    except ImportError:  # a notebook on its own, as in Colab, has no pages
        return
    store(name, shown, display=False)


def _assigned(source):
    targets = [target for node in ast.parse(source).body if isinstance(node, ast.Assign | ast.AnnAssign)
               for target in (node.targets if isinstance(node, ast.Assign) else [node.target])]
    return {target.id for target in targets if isinstance(target, ast.Name)}
