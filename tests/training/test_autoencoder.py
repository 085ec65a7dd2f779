"""A convolutional autoencoder: strided convolutions down, transposed ones up."""

import numpy as np

import fastnn as fn


def autoencoder():
    return fn.Sequential(
        *(fn.Conv2d(1, 8, 3, stride=2, padding="same"), fn.GroupNorm(2, 8), fn.ReLU()),
        *(fn.Conv2d(8, 4, 3, stride=2, padding="same"), fn.ReLU()),
        *(fn.ConvTranspose2d(4, 8, 3, stride=2, padding="same"), fn.ReLU()),
        fn.ConvTranspose2d(8, 1, 3, stride=2, padding="same"),
    )


def bars(count=64):
    """Images of one bright row or column each, (N, 12, 12, 1)."""
    rng = np.random.default_rng(0)
    images = np.zeros((count, 12, 12, 1), np.float32)
    for image, place in zip(images, rng.integers(0, 12, count), strict=True):
        (image if rng.random() < 0.5 else image.transpose(1, 0, 2))[place] = 1
    return images


def test_autoencoder_learns_to_copy_images():
    images = bars()
    fn.manual_seed(0)
    model = autoencoder()
    history = fn.fit(
        model,
        (images, images),
        loss="squared_error",
        optimizer=fn.Adam(lr=0.01),
        batch_size=16,
        epochs=30,
        seed=0,
    )
    assert model.output_shape((12, 12, 1)) == (12, 12, 1)
    assert history["loss"][-1] < 0.3 * history["loss"][0]


def test_weights_are_saved_and_loaded(tmp_path):
    fn.manual_seed(0)
    model, other = autoencoder(), autoencoder()
    fn.save(model, tmp_path / "model.safetensors")
    fn.load(other, tmp_path / "model.safetensors")
    images = bars(3)
    np.testing.assert_array_equal(other.predict(images), model.predict(images))
