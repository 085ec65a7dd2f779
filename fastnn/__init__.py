"""fastnn trains small neural networks fast on a CPU, with a Python API thin enough to read.

`x` holds the samples (N, ...), float or uint8 (scaled by 1/255), and `y` the class labels (N,):

>>> import fastnn as fn
>>> model = fn.Sequential(fn.Linear(784, 128), fn.ReLU(), fn.Linear(128, 10))
>>> history = fn.fit(model, (x, y), optimizer=fn.SGD(lr=0.1), batch_size=32, epochs=5)
"""

import typing as _typing

import fastnn._checkout as _checkout  # noqa: F401  first: all others need the compiled kernels
from fastnn import augment, complexity, data, init, losses, metrics, nets, optim, viz
from fastnn.board import LivePage
from fastnn.config import get_num_threads, set_num_threads, show_config
from fastnn.data import DatasetError, DatasetNotFoundError
from fastnn.exchange.convert import from_keras, from_torch, to_torch
from fastnn.exchange.errors import ConversionError
from fastnn.history import History
from fastnn.insight import occlusion, saliency, top_units
from fastnn.kernels import backend
from fastnn.layers import (
    ELU,
    GELU,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool1d,
    MaxPool2d,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    elementwise,
)
from fastnn.loggers.epoch_files import CSVLogger, JSONLogger
from fastnn.loggers.tensorboard import TensorBoard
from fastnn.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    BinaryFocal,
    BinaryHinge,
    CrossEntropy,
    Dice,
    Focal,
    Hinge,
    Huber,
    Loss,
    Poisson,
    SquaredError,
    absolute_error,
    binary_cross_entropy,
    binary_focal,
    binary_hinge,
    cross_entropy,
    dice,
    focal,
    hinge,
    huber,
    poisson,
    squared_error,
)
from fastnn.naive.gradcheck import gradcheck
from fastnn.nets.features import features
from fastnn.nets.torch_weights import load_torch
from fastnn.onnx import ModelFormatError, export_onnx, import_onnx
from fastnn.optim import schedules
from fastnn.optim.ema import EMA
from fastnn.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastnn.param import Buffer, Param
from fastnn.reproduction import Experiment, Report
from fastnn.rng import manual_seed
from fastnn.studies.space import Range
from fastnn.studies.study import Study
from fastnn.studies.sweep import sweep
from fastnn.studies.tune import tune
from fastnn.studies.tuning import Tuning
from fastnn.training.callbacks import Callback, EarlyStopping, StopWhenStill, Training
from fastnn.training.evaluation import evaluate, gradients
from fastnn.training.finite import NonFiniteError
from fastnn.training.fit import fit
from fastnn.training.inspection import inspect
from fastnn.training.processes import ProcessError
from fastnn.training.rate_test import find_lr
from fastnn.training.resume import Checkpoint
from fastnn.training.surface import loss_surface
from fastnn.training.trainer import Trainer
from fastnn.training.watch import GradientWatch
from fastnn.weights import CheckpointError, load, save

__all__ = [
    "ELU",
    "EMA",
    "GELU",
    "SGD",
    "AbsoluteError",
    "Adam",
    "AdamW",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "BinaryHinge",
    "Buffer",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "ConversionError",
    "CrossEntropy",
    "DatasetError",
    "DatasetNotFoundError",
    "Dice",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Experiment",
    "Flatten",
    "Focal",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GradientWatch",
    "GroupNorm",
    "Hinge",
    "History",
    "Huber",
    "Identity",
    "JSONLogger",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LivePage",
    "Loss",
    "MaxPool1d",
    "MaxPool2d",
    "ModelFormatError",
    "NonFiniteError",
    "Optimizer",
    "Param",
    "Poisson",
    "ProcessError",
    "RMSprop",
    "Range",
    "ReLU",
    "Report",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SquaredError",
    "StopWhenStill",
    "Study",
    "Tanh",
    "TensorBoard",
    "Trainer",
    "Training",
    "Tuning",
    "absolute_error",
    "augment",
    "backend",
    "binary_cross_entropy",
    "binary_focal",
    "binary_hinge",
    "complexity",
    "cross_entropy",
    "data",
    "dice",
    "elementwise",
    "evaluate",
    "export_onnx",
    "features",
    "find_lr",
    "fit",
    "focal",
    "from_keras",
    "from_torch",
    "get_num_threads",
    "gradcheck",
    "gradients",
    "hinge",
    "huber",
    "import_onnx",
    "init",
    "inspect",
    "load",
    "load_torch",
    "loss_surface",
    "losses",
    "manual_seed",
    "metrics",
    "nets",
    "occlusion",
    "optim",
    "poisson",
    "saliency",
    "save",
    "schedules",
    "set_num_threads",
    "show_config",
    "squared_error",
    "sweep",
    "to_torch",
    "top_units",
    "tune",
    "viz",
]

__version__ = "0.1.0"

if not _typing.TYPE_CHECKING:  # a type checker would accept any name
    from fastnn._attributes import names_of_module as _names_of_module

    __getattr__ = _names_of_module(__name__)
