"""A training step as one writes it in NumPy by hand: the contestant "numpy" of the race of whole steps."""

import numpy as np

# name: (a = f(z), f'(z) as a function of a)
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda a: a > 0),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
}


class NumpyMLP:
    """Linear layers, an activation between any two, softmax cross-entropy, plain SGD.

    weights (K, N) and biases (N,) of all layers are changed in place.
    """

    def __init__(self, weights, biases, activation):
        self.weights = weights
        self.biases = biases
        self.f, self.slope = ACTIVATIONS[activation]

    def step(self, x, labels, lr):
        """One update from the batch x (M, K), labels (M,); returns the mean loss before it."""
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
