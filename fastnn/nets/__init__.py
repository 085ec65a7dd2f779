"""Nets that are ready to be trained."""

from fastnn.nets.mnist import mnist_cnn

__all__ = ["mnist_cnn"]
