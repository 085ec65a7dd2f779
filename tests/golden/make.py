"""Write the golden model file of this version, which all later versions must read: run once per format.

python tests/golden/make.py
"""

import json
from pathlib import Path

import numpy as np

import fastnn as fn
from fastnn.model_record import FORMAT

HERE = Path(__file__).resolve().parent


def images(count):
    """Images (count, 8, 8, 2), uint8, without a random generator that could change."""
    return (np.arange(count * 128) * 37 % 251).astype(np.uint8).reshape(count, 8, 8, 2)


def model():
    """A small trained model with every layer, a frozen parameter, other scales, and names of classes."""
    fn.manual_seed(0)
    layers = [
        *(fn.Conv2d(2, 4, 3, padding=1, bias=False), fn.BatchNorm2d(4), fn.LeakyReLU(0.1)),
        fn.Residual(fn.Sequential(fn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=2), fn.ELU(0.5))),
        *(fn.MaxPool2d(2), fn.Residual(fn.Conv2d(4, 6, 1), fn.Conv2d(4, 6, 1, bias=False)), fn.GELU("tanh")),
        *(fn.AvgPool2d(2, stride=1, padding=1), fn.SiLU(), fn.Identity(), fn.LayerNorm(6), fn.Dropout(0.3)),
        *(fn.GlobalAvgPool2d(), fn.Reshape(2, 3), fn.Flatten(), fn.Linear(6, 5), fn.BatchNorm1d(5)),
        *(fn.Tanh(), fn.Linear(5, 4), fn.Sigmoid(), fn.Linear(4, 3), fn.ReLU(), fn.Softmax()),
    ]
    made = fn.Sequential(*layers)
    made[0].trainable = False
    made[3].set_lr_scale(0.5)
    made[1].gamma.decay_scale = 0.0
    y = np.array(["ant", "bee", "cat"])[np.arange(12) % 3]
    fn.fit(made, (images(12), y), epochs=2, seed=0, progress=False)
    return made


if __name__ == "__main__":
    made = model()
    path = fn.save(made, HERE / f"format{FORMAT}.safetensors")
    outputs = {"outputs": made.predict(images(3)).tolist(), "repr": repr(made)}
    path.with_suffix(".json").write_text(json.dumps(outputs, indent=1) + "\n")
