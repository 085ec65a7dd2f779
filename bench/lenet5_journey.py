"""A LeNet-5 starts in PyTorch, is trained on in fastnn, and returns: its accuracy at each station.

    python bench/lenet5_journey.py [--train 10000] [--test 10000]

Needs PyTorch and MNIST (`fastnn.data.mnist`).
"""

import argparse

import numpy as np
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", type=int, default=10_000, help="number of training images")
    parser.add_argument("--test", type=int, default=10_000, help="number of test images")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    fn.manual_seed(0)
    (x, y), (x_test, y_test) = fn.data.mnist()
    x, y = x[: arguments.train], y[: arguments.train].astype(np.int64)
    x_test, y_test = x_test[: arguments.test], y_test[: arguments.test]

    def report(station, logits):
        print(f"{station:42} {(logits.argmax(axis=1) == y_test).mean():.4f}")
        return logits

    module = LeNet5()
    train_in_pytorch(module, x, torch.from_numpy(y))
    first = report("PyTorch, 1 epoch", logits_of(module, x_test))
    model = fn.from_torch(module, channels_first(x[:1]))
    second = report("fastnn, converted", model.predict(x_test))
    fn.fit(model, (x, y), optimizer=fn.Adam(lr=0.001), batch_size=64, epochs=2, seed=0, progress=False)
    third = report("fastnn, trained on for 2 epochs", model.predict(x_test))
    back = fn.to_torch(model)
    fourth = report("PyTorch, converted back", logits_of(back, x_test))
    print(f"largest difference of logits, in:  {abs(first - second).max():.1e}")
    print(f"largest difference of logits, out: {abs(third - fourth).max():.1e}")


if __name__ == "__main__":
    main()
