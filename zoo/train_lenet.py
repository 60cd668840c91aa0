"""Trains the two LeNets of the zoo on MNIST: `python -m onnxsqueeze.zoo.train_lenet [folder]`, with PyTorch.

Both take pixels / 255 as float32 (n, 1, 28, 28) and give ten logits. LeNet-5 is Caffe's variant, without an
activation between convolution and pooling. The measured test error is written into the model's metadata.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from onnxsqueeze.zoo import data

Source = Callable[[bool], Any]  # images and labels, to train on or to test
EPOCHS = 30
BATCH = 128
SEED = 5


def lenet_300_100() -> nn.Sequential:
    """784-300-100-10 with ReLU: 266,610 parameters."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def lenet_5() -> nn.Sequential:
    """Caffe's LeNet: convolutions of 20 and 50 channels, then 500-10: 431,080 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


def train(net: nn.Sequential, epochs: int = EPOCHS, source: Source = data.mnist) -> float:
    """Trains in place with Adam, a cosine schedule and shifts of a pixel; returns the test error in %."""
    images, labels = _tensors(source, train=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for step in range(steps):
            pick = order[step * BATCH : (step + 1) * BATCH]
            shift = tuple(int(pixels) for pixels in torch.randint(-1, 2, (2,)))
            loss = nn.functional.cross_entropy(net(images[pick].roll(shift, (2, 3))), labels[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    images, labels = _tensors(source, train=False)
    with torch.no_grad():
        return float((net(images).argmax(1) != labels).float().mean()) * 100


def tune(net: nn.Sequential, steps: int, parameters: list[nn.Parameter]) -> None:
    """Trains some parameters further in place, with Adam at a small rate, as one does for the next version."""
    images, labels = _tensors(data.mnist, train=True)
    optimizer = torch.optim.Adam(parameters, lr=1e-4)
    for _ in range(steps):
        pick = torch.randint(0, len(images), (BATCH,))
        loss = nn.functional.cross_entropy(net(images[pick]), labels[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def export(net: nn.Sequential, name: str, error: float) -> onnx.ModelProto:
    """Plain ONNX, opset 17, one node a layer, weights as initializers, the batch dimension free."""
    nodes, weights, value = [], [], "image"
    for number, layer in enumerate(net):
        output = "logits" if number == len(net) - 1 else f"value{number}"
        inputs = [value]
        for key, weight in layer.named_parameters():
            inputs.append(f"layer{number}.{key}")
            weights.append(numpy_helper.from_array(weight.detach().numpy(), inputs[-1]))
        nodes.append(_node(layer, inputs, output))
        value = output
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"test_error_percent": f"{error:.2f}", "data": "MNIST test set, 10,000 digits"})
    onnx.checker.check_model(model, full_check=True)
    return model


def _node(layer: nn.Module, inputs: list[str], output: str) -> onnx.NodeProto:
    match layer:
        case nn.Linear():
            return helper.make_node("Gemm", inputs, [output], name=output, transB=1)
        case nn.Conv2d():
            return helper.make_node("Conv", inputs, [output], name=output, kernel_shape=[5, 5])
        case nn.MaxPool2d():
            return helper.make_node("MaxPool", inputs, [output], name=output, kernel_shape=[2, 2], strides=[2, 2])
        case _:
            return helper.make_node(type(layer).__name__.replace("ReLU", "Relu"), inputs, [output], name=output)


def _tensors(source: Source, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = source(train)
    return torch.from_numpy(images.astype(np.float32)[:, None] / 255), torch.from_numpy(labels)


def main(folder: Path) -> None:
    """Trains both and writes lenet-300-100.onnx and lenet-5.onnx into the folder."""
    torch.set_num_threads(2)
    builders: dict[str, Any] = {"lenet-300-100": lenet_300_100, "lenet-5": lenet_5}
    for name, build in builders.items():
        torch.manual_seed(SEED)
        net = build()
        error = train(net)
        onnx.save(export(net, name, error), folder / f"{name}.onnx")
        print(f"{name}: test error {error:.2f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "models")
