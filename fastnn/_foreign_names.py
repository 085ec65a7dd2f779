"""Names of other libraries, and what to write here instead: the tables behind the hints of error messages."""

from __future__ import annotations

# Arguments and attributes: the names they have here, of which a class has at most one.
RENAMED: dict[str, tuple[str, ...]] = {
    "learning_rate": ("lr",),
    "learning_rate_init": ("lr",),
    "beta_1": ("betas",),
    "beta_2": ("betas",),
    "epsilon": ("eps",),
    "rho": ("alpha",),
    "decay": ("weight_decay",),
    "l2": ("weight_decay",),
    "units": ("out_features",),
    "output_dim": ("out_features",),
    "input_dim": ("in_features",),
    "input_size": ("in_features",),
    "filters": ("out_channels",),
    "use_bias": ("bias",),
    "kernel_size": ("filter_size", "window"),
    "pool_size": ("window",),
    "strides": ("stride",),
    "dilation_rate": ("dilation",),
    "kernel_initializer": ("weight_init",),
    "bias_initializer": ("bias_init",),
    "p": ("rate",),
    "eps": ("epsilon",),
    "num_features": ("channels",),
    "normalized_shape": ("shape",),
    "target_shape": ("shape",),
    "negative_slope": ("slope",),
    "center": ("affine",),
    "elementwise_affine": ("affine",),
    "class_weight": ("weight",),
    "kernel": ("weight",),
    "weights": ("weight",),
    "factor": ("gamma",),
    "min_lr": ("end",),
    "eta_min": ("end",),
    "step_size": ("every",),
}

TAKES_NO_PARAMETERS = "optimizers take no parameters: write fn.fit(model, (x, y), optimizer=fn.SGD(lr=...))"

_NO_ZEROING = "leave it out; each backward pass overwrites the gradients"
_ONE_UPDATE = "fn.Trainer(model, loss=..., optimizer=...).step(x, y) makes a whole update"
_FIT = "write fn.fit(model, (x, y), loss=..., optimizer=..., epochs=...)"
_PREDICT = "write model.predict(x), which returns the logits, or model.predict_proba(x)"
_SAVE = "write fn.save(model, path)"
_LOAD = "write fn.load(model, path)"
_STOP = "call training.stop() in a callback"
_ON_CPU = "leave it out; fastnn computes on the CPU"
_NO_INPUT_SHAPE = "leave it out; the first layer is told its number of inputs, as in fn.Linear(784, 128)"


def _table(rows: dict[str, str]) -> dict[str, str]:
    """The hint of each name; a row has one or more names, separated by spaces."""
    return {name: hint for names, hint in rows.items() for name in names.split()}


# Arguments that have no counterpart.
ARGUMENTS = _table(
    {
        "activation": "activations are layers: fn.Sequential(fn.Linear(784, 128), fn.ReLU(), ...)",
        "input_shape": _NO_INPUT_SHAPE,
        "name": "leave it out; parameters are named by their place in the model, as in '0.weight'",
        "inplace": "leave it out",
        "device": _ON_CPU,
        "dim axis": "leave it out; the last axis holds the classes or channels",
        "from_logits": "leave it out; this loss takes logits",
        "padding_mode": "images are padded with zeros",
        "kernel_regularizer": "pass weight_decay=... to the optimizer",
        "clipnorm": "pass clip_norm=... to fn.fit or fn.Trainer",
        "clipvalue": "pass clip_value=... to fn.fit or fn.Trainer",
        "params": TAKES_NO_PARAMETERS,
    }
)

LAYER_ATTRIBUTES = _table(
    {
        "train eval training": "leave it out; fn.fit and trainer.step train, predict and evaluate do not",
        "requires_grad requires_grad_ frozen freeze": "write layer.trainable = False to freeze the layer",
        "cuda cpu device": _ON_CPU,
        "float double half astype dtype": 'write model.to("float32") or model.to("float64")',
        "fit compile train_on_batch partial_fit": _FIT,
        "evaluate score": "write fn.evaluate(model, (x, y))",
        "save save_weights": _SAVE,
        "load load_weights load_state_dict": _LOAD,
        "state_dict get_weights": "write {p.name: p.value for p in model.parameters()} or fn.save(...)",
        "set_weights": "write p.value = array for each p in model.parameters()",
        "trainable_variables trainable_weights": "write model.parameters()",
        "count_params": "write sum(p.size for p in model.parameters())",
        "modules children": "write `for layer in model`",
        "add append": "pass all layers to fn.Sequential(...)",
        "zero_grad": _NO_ZEROING,
        "lr learning_rate": "write layer.set_lr_scale(scale), a factor on the learning rate",
        "in_features out_features": "write layer.weight.shape, which is (inputs, outputs)",
        "optimizer loss": "pass it to fn.fit or fn.Trainer",
        "stop_training": _STOP,
    }
)

PARAM_ATTRIBUTES = _table(
    {
        "requires_grad frozen": "write p.trainable = False to freeze the parameter",
        "data numpy detach tolist item assign copy_": "p.value is its array",
        "T ndim mean sum std min max copy astype reshape flatten": "p.value is its array",
        "lr learning_rate": "write p.lr_scale = scale, a factor on the learning rate",
        "numel": "write p.size",
        "zero_grad": _NO_ZEROING,
        "backward": "write fn.gradients(model, (x, y), loss=...), which fills p.grad",
    }
)

OPTIMIZER_ATTRIBUTES = _table(
    {
        "zero_grad": f"{_NO_ZEROING}; {_ONE_UPDATE}",
        "minimize apply_gradients": _ONE_UPDATE,
        "step": f"write optimizer.step(model.parameters()); {_ONE_UPDATE}",
        "param_groups": "write optimizer.lr = ..., or p.lr_scale = ... for single parameters",
    }
)

LOSS_ATTRIBUTES = _table({"backward": f"fn.gradients(model, (x, y), loss=...) fills p.grad; {_ONE_UPDATE}"})

TRAINER_ATTRIBUTES = _table(
    {
        "lr learning_rate": "write trainer.optimizer.lr",
        "fit train": f"{_FIT}, or trainer.step(x, y) for one update",
        "epochs batch_size validation metrics callbacks": "pass it to fn.fit",
        "seed": "pass it to fn.Trainer, which keys the random layers once",
        "predict": "write trainer.model.predict(x)",
        "zero_grad": _NO_ZEROING,
    }
)

TRAINING_ATTRIBUTES = _table({"stop_training": _STOP, "lr learning_rate": "write training.optimizer.lr"})

SCHEDULE_ATTRIBUTES = _table(
    {
        "step": "leave it out; fn.fit and trainer.step set the rate of each update",
        "get_last_lr": "write trainer.optimizer.lr",
    }
)

# Names of a module.
NAMES = _table(
    {
        "nn keras models": "layers are names of fastnn itself: fn.Linear, fn.ReLU, fn.Sequential",
        "optimizers": "optimizers are names of fastnn itself: fn.SGD, fn.Adam, fn.AdamW, fn.RMSprop",
        "callbacks": "callbacks are names of fastnn itself: fn.EarlyStopping, fn.Checkpoint",
        "initializers": "name it in the layer, as in fn.Linear(784, 128, weight_init='he_normal')",
        "regularizers": "pass weight_decay=... to the optimizer",
        "datasets": "write (x, y), (x_test, y_test) = fn.data.mnist() or another one of fn.data",
        "utils": "write fn.data.one_hot(y, classes), fn.manual_seed(seed) or plot(history)",
        "functional": "write the layer fn.ReLU(), the loss fn.cross_entropy(logits, y)",
        "train compile": _FIT,
        "predict no_grad inference_mode": _PREDICT,
        "Dense": "write fn.Linear(in_features, out_features)",
        "Conv2D Convolution2D": "write fn.Conv2d(in_channels, out_channels, filter_size)",
        "MaxPooling2D MaxPool2D": "write fn.MaxPool2d(window)",
        "AveragePooling2D AvgPool2D": "write fn.AvgPool2d(window)",
        "GlobalAveragePooling2D AdaptiveAvgPool2d": "write fn.GlobalAvgPool2d()",
        "BatchNormalization BatchNorm": "write fn.BatchNorm1d(features) or fn.BatchNorm2d(channels)",
        "LayerNormalization": "write fn.LayerNorm(shape)",
        "Activation relu sigmoid tanh softmax": "activations are layers: fn.ReLU(), fn.Tanh(), fn.Softmax()",
        "Module Model": "write fn.Sequential(...), or a subclass of fn.Layer",
        "MLP": "write fn.nets.mlp([784, 128, 10])",
        "MLPClassifier MLPRegressor neural_network": "write from fastnn.sklearn import MLPClassifier",
        "Input InputLayer": _NO_INPUT_SHAPE,
        "CrossEntropyLoss SparseCategoricalCrossentropy CategoricalCrossentropy": (
            "write fn.CrossEntropy() or loss='cross_entropy', which takes logits"
        ),
        "BCELoss BCEWithLogitsLoss BinaryCrossentropy": (
            "write fn.BinaryCrossEntropy() or loss='binary_cross_entropy', which takes logits"
        ),
        "MSELoss MeanSquaredError mse mse_loss": (
            "write fn.SquaredError() or loss='squared_error', which has a factor of 1/2"
        ),
        "L1Loss MeanAbsoluteError mae l1_loss": "write fn.AbsoluteError() or loss='absolute_error'",
        "HuberLoss SmoothL1Loss huber_loss smooth_l1_loss": "write fn.Huber(delta=...) or loss='huber'",
        "PoissonNLLLoss poisson_nll_loss": "write fn.Poisson() or loss='poisson'",
        "MultiMarginLoss CategoricalHinge": "write fn.Hinge() or loss='hinge'",
        "tensor Tensor from_numpy array": "fastnn takes NumPy arrays",
        "DataLoader Dataset TensorDataset": "write fn.fit(model, (x, y), batch_size=...)",
        "to_categorical one_hot": "write fn.data.one_hot(y, classes); losses also take the labels themselves",
        "confusion_matrix ConfusionMatrix ConfusionMatrixDisplay": (
            "write fn.metrics.confusion(outputs, y), or fn.viz.save_confusion(...) for a picture"
        ),
        "classification_report": "write print(fn.metrics.report(outputs, y))",
        "accuracy_score Accuracy": "write fn.metrics.accuracy(outputs, y)",
        "f1_score precision_score recall_score": "write fn.metrics.f1, precision or recall(outputs, y)",
        "top_k_accuracy_score": "write fn.metrics.top_k(k)(outputs, y)",
        "mean_squared_error mean_absolute_error MeanAbsoluteError mae": (
            "write a function such as lambda outputs, y: abs(outputs - y).mean()"
        ),
        "AUC roc_auc_score": ("use sklearn.metrics.roc_auc_score(y, model.predict_proba(x))"),
        "seed set_seed set_random_seed": "write fn.manual_seed(seed)",
        "lr_scheduler LearningRateScheduler": "write schedule=fn.schedules.Cosine() or another one",
        "StepLR": "write schedule=fn.schedules.Step(every)",
        "CosineAnnealingLR CosineDecay": "write schedule=fn.schedules.Cosine()",
        "LinearLR": "write schedule=fn.schedules.Warmup(updates)",
        "ReduceLROnPlateau": "write schedule=fn.schedules.Plateau()",
        "ModelCheckpoint": (
            "write fn.fit(..., checkpoint=path), which also resumes; for the best weights, "
            "fn.EarlyStopping(restore_best=True), then fn.save(model, path)"
        ),
        "TensorBoard CSVLogger LambdaCallback": (
            "write a function of an fn.Training, which fn.fit(..., callbacks=...) calls after each epoch"
        ),
        "load_model": "write model = fn.load(path)",
        "load_weights load_state_dict": _LOAD,
        "save_model save_weights dump": _SAVE,
        "device cuda": _ON_CPU,
        "backward": "write fn.gradients(model, (x, y), loss=...)",
    }
)
