"""Keywords of Keras, PyTorch and scikit-learn, and what `fit` and `Trainer` call the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Other libraries' keyword -> what to write here.
OTHER_SPELLINGS: dict[str, str] = {}
for _names, _here in {
    "validation_data eval_set val_data valid_data": "validation=(x, y)",
    "validation_split validation_fraction": "validation=0.1, the fraction of the data",
    "x X y X_train y_train dataset train_data": "the data as one pair: (x, y)",
    "class_weight": (
        "loss=fn.CrossEntropy(weight=[...]), one weight per class, or for one output "
        "loss=fn.BinaryCrossEntropy(pos_weight=...)"
    ),
    "sample_weight": "the data as (x, y, sample_weight)",
    "lr learning_rate learning_rate_init eta": "optimizer=fn.Adam(lr=...)",
    "momentum nesterov": "optimizer=fn.SGD(lr=..., momentum=...)",
    "betas eps": "optimizer=fn.Adam(betas=..., eps=...)",
    "weight_decay alpha l2": "optimizer=fn.AdamW(weight_decay=...)",
    "opt solver optim": "optimizer",
    "criterion loss_fn loss_function objective": "loss",
    "metric": "metrics",
    "verbose": "progress=True or False",
    "n_epochs num_epochs nb_epoch max_epochs max_iter n_iter": "epochs",
    "bs batch batchsize": "batch_size",
    "accumulate_grad_batches gradient_accumulation_steps accumulation_steps iter_size": (
        "micro_batch, the samples to compute at once: batch_size / steps"
    ),
    "sync_batchnorm sync_bn": "sync_batch_norm",
    "random_state random_seed rng": "seed",
    "initial_epoch warm_start": "history=history, which continues an earlier history",
    "early_stopping patience n_iter_no_change": "callbacks=[fn.EarlyStopping(patience=...)]",
    "callback": "callbacks",
    "scheduler lr_scheduler lr_schedule": "schedule, such as fn.schedules.Cosine()",
    "max_norm max_grad_norm clip_grad_norm clipnorm global_clipnorm gradient_clip_val": "clip_norm",
    "clip_grad_value clipvalue": "clip_value",
    "use_ema ema_decay ema_momentum": "ema=0.999, the decay",
    "augmentation transform transforms": "augment, such as fn.augment.Rotate(15)",
    "sampler": 'order, such as order="balanced"',
    "resume_from ckpt_path checkpoint_path": "checkpoint",
    "device": "nothing: fastnn computes on the CPU",
    "comm mpi distributed world": "communicator=MPI.COMM_WORLD, after `from mpi4py import MPI`",
    "num_workers n_jobs workers": "fn.set_num_threads(count) before the training",
    "dtype": "model.to(dtype) before the training",
    "amp autocast mixed_precision use_amp": 'precision="bf16"',
}.items():
    OTHER_SPELLINGS |= dict.fromkeys(_names.split(), _here)

# The keywords among them that only `fit` has.
OF_FIT = frozenset(
    (
        "validation",
        "epochs",
        "batch_size",
        "callbacks",
        "metrics",
        "history",
        "progress",
        "order",
        "checkpoint",
    )
)


def check_names(what: str, keywords: Mapping[str, object], known: Sequence[str]) -> None:
    """Raise TypeError for the first unknown keyword, with its name here or the nearest known one."""
    for name in keywords:
        if name in known:
            continue
        import difflib  # 4 ms of import time, needed for an error only

        close = difflib.get_close_matches(name, known, n=1)
        if here := OTHER_SPELLINGS.get(name):
            keyword = here.partition("=")[0].partition(",")[0]
            hint = f"fn.fit takes {here}" if keyword in OF_FIT and keyword not in known else f"pass {here}"
        else:
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(known)}"
        raise TypeError(f"{what}() got an unexpected keyword argument {name!r}: {hint}")


def check_positions(what: str, arguments: Sequence[object], known: Sequence[str]) -> None:
    """Raise TypeError if there are more positional arguments than names in `known`."""
    if len(arguments) > len(known):
        hint = ", and the data as one pair: (x, y)" if "data" in known else ""
        raise TypeError(
            f"{what}() takes {' and '.join(known)} as positional arguments, got {len(arguments)}: pass the "
            f"others by name{hint}"
        )
