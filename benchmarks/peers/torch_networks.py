"""The networks in PyTorch, with the exported weights. Images are (n, channels, height, width) here."""

import torch
from torch import nn
from torch.nn import functional as F


def build(network, weights, x):
    """(the network as a module, x in the layout that it expects)."""
    weights = {name: torch.from_numpy(value) for name, value in weights.items()}
    kind = network["architecture"]
    model = {"mlp": _mlp, "cnn": _cnn, "resnet": ResNet, "transformer": Transformer}[kind](network, weights)
    x = torch.from_numpy(x)
    return model, x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x.long() if kind == "transformer" else x


def linear(weights, name):
    """A layer from a kernel (d_in..., d_out...); the heads of attention, if any, are merged into one axis."""
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    return _linear(kernel.reshape(-1, kernel.shape[-1]) if bias.ndim == 1 else kernel.flatten(1), bias.flatten())


def _linear(kernel, bias):
    layer = nn.Linear(*kernel.shape)
    return _filled(layer, weight=kernel.T.contiguous(), bias=bias)


def conv(weights, name, stride=1):
    """A convolution padded like Keras's "same": for stride 2 on an even side, only on the right and below."""
    kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous()
    d_out, d_in, side, _ = kernel.shape
    lopsided = stride == 2 and side == 3
    layer = nn.Conv2d(d_in, d_out, side, stride, padding=0 if lopsided else side // 2)
    _filled(layer, weight=kernel, bias=weights[f"{name}/bias"])
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), layer) if lopsided else layer


def embedding(weights, name):
    table = weights[f"{name}/embeddings"]
    return _filled(nn.Embedding(*table.shape), weight=table)


def norm(weights, name):
    scale = weights[f"{name}/gamma"]
    return _filled(nn.LayerNorm(len(scale), eps=1e-5), weight=scale, bias=weights[f"{name}/beta"])


def _filled(layer, **values):
    for name, value in values.items():
        getattr(layer, name).data = value
    return layer


def _mlp(network, weights):
    hidden = [part for i in range(len(network["widths"])) for part in (linear(weights, f"dense{i}"), nn.ReLU())]
    return nn.Sequential(*hidden, linear(weights, "head"))


def _cnn(network, weights):
    parts = []
    for i in range(len(network["filters"])):
        parts += [conv(weights, f"conv{i}"), nn.ReLU(), nn.MaxPool2d(2)]
    side, channels = network["input_shape"][0] // 2 ** len(network["filters"]), network["filters"][-1]
    kernel = weights["head/kernel"].reshape(side, side, channels, -1).permute(2, 0, 1, 3)  # channels last to first
    head = _linear(kernel.reshape(side * side * channels, -1), weights["head/bias"])
    return nn.Sequential(*parts, nn.Flatten(), head)


class ResNet(nn.Module):
    def __init__(self, network, weights):
        super().__init__()
        self.stem, self.head = conv(weights, "stem"), linear(weights, "head")
        self.first, self.second, self.shortcuts = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        for stage in range(len(network["filters"])):
            for block in range(network["blocks"]):
                name, stride = f"stage{stage}block{block}", 2 if stage and not block else 1
                if stride > 1:
                    self.shortcuts[str(len(self.first))] = conv(weights, f"{name}shortcut", stride)
                self.first.append(conv(weights, f"{name}a", stride))
                self.second.append(conv(weights, f"{name}b"))

    def forward(self, x):
        x = F.relu(self.stem(x))
        for i, (first, second) in enumerate(zip(self.first, self.second)):
            y = second(F.relu(first(x)))
            x = F.relu(y + (self.shortcuts[str(i)](x) if str(i) in self.shortcuts else x))
        return self.head(x.mean((2, 3)))


class Transformer(nn.Module):
    def __init__(self, network, weights):
        super().__init__()
        self.heads, blocks = network["heads"], range(network["blocks"])
        self.tokens, self.positions = embedding(weights, "tokens"), embedding(weights, "positions")
        self.attention = nn.ModuleList(nn.ModuleDict({
            part: linear(weights, f"attention{i}/{part}") for part in ("query", "key", "value", "attention_output")
        }) for i in blocks)
        self.expand = nn.ModuleList(linear(weights, f"expand{i}") for i in blocks)
        self.contract = nn.ModuleList(linear(weights, f"contract{i}") for i in blocks)
        self.norms = nn.ModuleList(nn.ModuleList(norm(weights, f"norm{i}{part}") for part in "ab") for i in blocks)
        self.head = linear(weights, "head")

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
        x = self.tokens(tokens) + self.positions(positions)
        for attention, expand, contract, (first, second) in zip(self.attention, self.expand, self.contract, self.norms):
            x = first(x + self.attend(attention, x))
            x = second(x + contract(F.relu(expand(x))))
        return self.head(x.mean(1))

    def attend(self, parts, x):
        query, key, value = (parts[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                             for name in ("query", "key", "value"))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return parts["attention_output"](mixed.transpose(1, 2).flatten(2))
