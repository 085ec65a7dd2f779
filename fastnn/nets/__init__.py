"""Ready-made networks, and tools for pretrained ones: PyTorch weights and feature extraction.

May import `layers`, `weights` and the modules below them.
"""

from fastnn.nets.alexnet import alexnet
from fastnn.nets.mlp import mlp
from fastnn.nets.mnist import mnist_cnn

__all__ = ["alexnet", "mlp", "mnist_cnn"]
