"""A LeNet-5 goes from PyTorch to fastnn, is trained on, and leaves as ONNX: its accuracy at each station.

    python bench/lenet5_journey.py [--train 60000] [--test 10000]

Needs PyTorch, onnx, onnxruntime and MNIST (`fastnn.data.mnist`).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

import fastnn as fn


class LeNet5(nn.Module):
    """LeCun et al. 1998, with ReLU and max pools."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


def train_in_pytorch(module, x, y, epochs=1):
    """Train a module on images (N, 28, 28), bytes."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.001)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(module(channels_first(x[rows.numpy()])), y[rows]).backward()
            optimizer.step()


def channels_first(x):
    return torch.from_numpy(x[:, None].astype(np.float32) / 255)


def logits_of(module, x):
    with torch.no_grad():
        return module.eval()(channels_first(x)).numpy()


def journey(train, test, epochs=2):
    """Yield the name of each station and the logits (N, 10) of its model for the test images."""
    (x, y), (x_test, _) = train, test
    torch.manual_seed(0)
    fn.manual_seed(0)
    module = LeNet5()
    train_in_pytorch(module, x, torch.from_numpy(y))
    yield "PyTorch, 1 epoch", logits_of(module, x_test)
    model = fn.from_torch(module, channels_first(x[:1]))
    yield "fastnn, converted", model.predict(x_test)
    fn.fit(model, (x, y), optimizer=fn.Adam(lr=0.001), batch_size=64, epochs=epochs, seed=0, progress=False)
    yield f"fastnn, trained on for {epochs} epochs", model.predict(x_test)
    yield "PyTorch, converted back", logits_of(fn.to_torch(model), x_test)
    with tempfile.TemporaryDirectory() as folder:
        path = fn.export_onnx(model, Path(folder, "lenet5.onnx"), input_shape=(28, 28, 1))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        yield "onnxruntime, exported", session.run(None, {"input": channels_first(x_test).numpy()})[0]
        yield "fastnn, imported from ONNX", fn.import_onnx(path).predict(x_test)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", type=int, default=60_000, help="number of training images")
    parser.add_argument("--test", type=int, default=10_000, help="number of test images")
    arguments = parser.parse_args()
    (x, y), (x_test, y_test) = fn.data.mnist()
    x, y = x[: arguments.train], y[: arguments.train].astype(np.int64)
    x_test, y_test = x_test[: arguments.test], y_test[: arguments.test]

    stations = dict(journey((x, y), (x_test, y_test)))
    for name, logits in stations.items():
        print(f"{name:35} {(logits.argmax(axis=1) == y_test).mean():.4f}")
    first, converted, trained, *others = stations.values()
    print(f"largest difference of logits, in:  {abs(first - converted).max():.1e}")
    print(f"largest difference of logits, out: {max(abs(trained - each).max() for each in others):.1e}")


if __name__ == "__main__":
    main()
