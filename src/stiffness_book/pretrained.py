"""Where pretrained networks come from: keras-hub's presets by name, or folders in the form of Hugging Face.

The settings of a run name a network. A folder's name says where it lies on one machine and not what is in it, so the
settings have its last part and a digest of its files: pretrained-MiniLM@3f9c0d2b8a71.
"""

import hashlib
import json
import os
from pathlib import Path

from stiffness_book.data import DataUnavailable

PRESETS = "STIFFNESS_PRESETS"  # the environment variable with a folder of folders of pretrained networks
NEEDED = ("config.json", "model.safetensors", "vocab.txt")
DIGITS = 12


def named(preset):
    """The settings of a preset: {"network": "pretrained-NAME"}, and the `folder` if the preset is one.

    preset: the name of a preset of keras-hub, such as bert_base_en_uncased; a folder with config.json,
    model.safetensors and vocab.txt; or NAME@DIGEST of such a folder, which is then looked for in the folder that
    STIFFNESS_PRESETS names, as soon as a run has to be computed. Raises ValueError for an incomplete folder.
    """
    folder = Path(preset).expanduser()
    if not folder.is_dir():
        return {"network": f"pretrained-{preset}"}
    folder = folder.resolve()
    return {"network": f"pretrained-{folder.name}@{digest(folder)}", "folder": str(folder)}


def digest(folder):
    """Of the files of a pretrained network that its numbers depend on. Raises ValueError where one is missing."""
    folder = Path(folder)
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise ValueError(f"preset is the folder {folder}, which lacks {', '.join(missing)}; expected a BERT-type "
                         f"network in Hugging Face's form, {', '.join(NEEDED)}, or the name of a preset of keras-hub")
    found = hashlib.sha256()
    for name in NEEDED:
        with open(folder / name, "rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:DIGITS]


def place_of(experiment):
    """What keras-hub's `from_preset` is given for the run: a folder, or a preset's name.

    Raises DataUnavailable where the folder is not known or holds other files.
    """
    name, _, expected = experiment.network.removeprefix("pretrained-").partition("@")
    if not expected:
        return name
    folder = experiment.folder or (os.environ.get(PRESETS) and str(Path(os.environ[PRESETS]) / name))
    wanted = (f"the pretrained network {name}@{expected} is not at hand: give the folder with its {', '.join(NEEDED)} "
              f"as preset, or set {PRESETS} to a folder in which it is called {name}")
    if not folder or not Path(folder).is_dir():
        raise DataUnavailable(wanted)
    if digest(folder) != expected:
        raise DataUnavailable(f"{wanted}; {folder} holds another one, {name}@{digest(folder)}")
    return folder


def load(part, experiment, **options):
    """A part of the run's pretrained network, such as its backbone, by that class's `from_preset`.

    Raises DataUnavailable where it cannot be loaded, as without a network.
    """
    place = place_of(experiment)
    try:
        return part.from_preset(place, **options)
    except Exception as error:  # of keras-hub's libraries, of the network, of a file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataUnavailable(f"keras-hub cannot load the preset {place} as {part.__name__} ({reason}); expected the "
                              f"name of a BERT preset, or a folder with {', '.join(NEEDED)}") from error


def lowercase(folder):
    """Whether the network in the folder reads text in lower case, as its tokenizer's settings say if there are any."""
    settings = Path(folder) / "tokenizer_config.json"
    return json.loads(settings.read_text("utf-8")).get("do_lower_case", True) if settings.exists() else True
