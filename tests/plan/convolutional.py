"""Models with transposed convolutions, layers of sequences and group norms, for `test_same_as_eager.py`."""

import fastnn as fn

from .twins import CLASSES, FEATURES, small_net

CONVOLUTIONAL = {
    "transposed convolutions": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 48), fn.Reshape(4, 4, 3), fn.ConvTranspose2d(3, 18, 3, stride=2), fn.ReLU()),
        *(fn.ConvTranspose2d(18, 17, 3, padding=1, groups=1), fn.BatchNorm2d(17), fn.ReLU(), fn.MaxPool2d(3)),
        *(fn.ConvTranspose2d(17, 2, 3, stride=2, padding="same", bias=False), fn.Tanh(), fn.Flatten()),
        fn.Linear(72, CLASSES),
    ),
    "few channels": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 200), fn.Reshape(10, 20, 1), fn.Conv2d(1, 3, 3), fn.ReLU(), fn.MaxPool2d(2)),
        *(fn.Conv2d(3, 6, 2, stride=(1, 2)), fn.Sigmoid(), fn.MaxPool2d(2, stride=1), fn.Flatten()),
        fn.Linear(36, CLASSES),
    ),
    "sequences": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 48), fn.Reshape(12, 4), fn.Conv1d(4, 6, 3, padding="same"), fn.BatchNorm1d(6)),
        *(fn.ReLU(), fn.MaxPool1d(2), fn.Conv1d(6, 6, 2, stride=2, padding="same", groups=6), fn.Sigmoid()),
        *(fn.GroupNorm(3, 6), fn.AvgPool1d(2, padding="same"), fn.GlobalAvgPool1d(), fn.Linear(6, CLASSES)),
    ),
    "group norm": lambda: small_net(
        fn.GroupNorm(4, 16), fn.ReLU(), fn.Reshape(4, 4), fn.GroupNorm(2, 4), fn.Flatten()
    ),
    "another shape before the pool": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 40), fn.Reshape(4, 5, 2), fn.Conv2d(2, 6, 3, padding=1), fn.ReLU()),
        *(fn.Reshape(5, 4, 6), fn.MaxPool2d(2), fn.Flatten(), fn.Linear(24, CLASSES)),
    ),
    "steps as channels before the pool": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 16), fn.Reshape(8, 2), fn.Conv1d(2, 9, 3, padding=1), fn.ReLU()),
        *(fn.Reshape(9, 8), fn.MaxPool1d(2), fn.Flatten(), fn.Linear(32, CLASSES)),
    ),
    "other channels between batch norm and pool": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 64), fn.Reshape(4, 4, 4), fn.BatchNorm2d(4), fn.ReLU()),
        *(fn.Reshape(4, 2, 8), fn.MaxPool2d(2), fn.Flatten(), fn.Linear(16, CLASSES)),
    ),
}
