"""The cases: networks as plain settings, from which each library builds its own, and numbers of examples."""

from dataclasses import dataclass

OURS = ("closed-form", "jacobian", "loop")  # "jacobian" and "loop" both run the plain definition
PEERS = {  # way -> its script in peers/ and the script's options
    "torch-func": ("torch_func.py",),
    "backpack": ("backpack_batchgrad.py",),
    "jax": ("jax_vmap.py",),
    "neural-tangents": ("neural_tangents_structured.py",),
    "neural-tangents-logits": ("neural_tangents_structured.py", "--logits"),
}
WAYS = (*OURS, *PEERS)
SMALL = 24  # examples with `--small`

MLP = {"architecture": "mlp", "input_shape": [784], "widths": [500, 300, 100], "classes": 10}


@dataclass(frozen=True)
class Case:
    """A network, a task, and the numbers of examples, of which the first is used in the table."""

    name: str
    network: dict
    sizes: tuple
    slow_to: int = 10**9  # ways that compute every gradient are measured up to this number of examples
    task: str = "gram"  # or "class-matrices", from all pairs; or "cosine-classes", in linear time

    def settings(self, n):
        """What the process of a way needs to know."""
        return {"case": self.name, "task": self.task, "n": n, "network": self.network}

    def ways(self, n):
        """The floor first, as the quickest; then the closed form, as the others are compared with its matrix."""
        others = [way for way in WAYS[1:] if self.task == "gram" and (n <= self.slow_to or way == "neural-tangents")]
        return ("floor", "closed-form", *others)


CASES = (
    Case("mlp", MLP, (500, 100, 250, 1_000, 2_500, 5_000, 10_000), slow_to=500),
    Case("cnn-v3", {"architecture": "cnn", "input_shape": [32, 32, 3], "filters": [16, 32, 32], "classes": 10}, (500,)),
    Case("cnn-v1", {"architecture": "cnn", "input_shape": [32, 32, 3], "filters": [32, 64, 128, 256], "classes": 100},
         (3_000,), slow_to=0),
    Case("resnet20", {"architecture": "resnet", "input_shape": [32, 32, 3], "filters": [16, 32, 64], "blocks": 3,
                      "classes": 10}, (500,)),
    Case("transformer", {"architecture": "transformer", "input_shape": [64], "vocabulary": 5_000, "width": 128,
                         "heads": 4, "hidden": 512, "blocks": 2, "classes": 3}, (500,)),
    Case("mlp-pairs", MLP, (10_000,), task="class-matrices"),
    Case("mlp-cosines", MLP, (60_000, 15_000, 30_000), task="cosine-classes"),
)
