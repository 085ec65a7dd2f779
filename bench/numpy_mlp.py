"""A hand-written NumPy training step: the contestant "numpy" of bench_step.py."""

import numpy as np

# name: (a = f(z), f'(z) as a function of a)
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda a: a > 0),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
}


class NumpyMLP:
    """Linear layers with an activation in between, softmax cross-entropy, plain SGD.

    `step` updates the weights (K, N) and biases (N,) of all layers in place.
    """

    def __init__(self, weights, biases, activation):
        self.weights = weights
        self.biases = biases
        self.f, self.slope = ACTIVATIONS[activation]

    def step(self, x, labels, lr):
        """Update the weights with the batch x (M, K), labels (M,); return the mean loss before the update."""
        rows = np.arange(len(x))
        outputs = [x]
        for w, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            outputs.append(self.f(outputs[-1] @ w + b))
        z = outputs[-1] @ self.weights[-1] + self.biases[-1]
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(p[rows, labels]).mean()

        dz = p
        dz[rows, labels] -= 1
        dz /= len(x)
        for layer in reversed(range(len(self.weights))):
            w, b, a = self.weights[layer], self.biases[layer], outputs[layer]
            dw, db = a.T @ dz, dz.sum(axis=0)
            if layer > 0:
                dz = (dz @ w.T) * self.slope(a)
            w -= lr * dw
            b -= lr * db
        return float(loss)
