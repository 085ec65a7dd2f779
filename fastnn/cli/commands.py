"""The subcommands of `fastnn` other than `train`: one function each, which calls the package and prints.

`fastnn.cli.main` reads the types, the defaults and the help of the options from these functions.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from fastnn import get_num_threads


def sizes_of(text: str) -> tuple[int, ...]:
    """Parse layer sizes: "784,128,10" gives (784, 128, 10). Raises ValueError for any other form."""
    try:
        return tuple(int(size) for size in text.strip("[]()").split(","))
    except ValueError:
        raise ValueError(
            f"sizes must be integers separated by commas, such as 784,128,10, not {text!r}"
        ) from None


def sweep(
    config: Path,
    grid: list[str],
    seeds: str = "0:3",
    jobs: int | None = None,
    executor: str = "threads",
    out: Path | None = None,
    resume: bool = False,
    no_download: bool = False,
) -> None:
    """Train with every combination of settings in a grid, with several seeds, and compare the results.

    Args:
        config: YAML file with the settings that all runs share, or the config.json of an earlier run.
        grid: A setting and the values to try, such as optimizer.lr=0.1,0.3, or hidden=32,64-32 for one layer
            of 32, and layers of 64 and 32. With several settings, every combination is trained.
        seeds: Seeds of the runs: a range such as 0:3 (0, 1 and 2), or a list such as 0,1,2.
        jobs: Number of runs that train at the same time, on one thread each. Default: the number of
            threads that fastnn uses.
        executor: Where the runs train: threads (of this process), joblib (several processes),
            dask://host:port, ray, or ray://host:port.
        out: Folder to write to. Default: a new folder in runs/.
        resume: Continue the interrupted sweep in the folder given by --out.
        no_download: Fail instead of downloading missing data.
    """
    from fastnn.cli import settings_file, sweep_run

    sweep_run.run(
        settings_file.read(config),
        settings_file.grid(grid),
        settings_file.seeds(seeds),
        jobs="auto" if jobs is None else jobs,
        executor=executor,
        out=out,
        resume=resume,
        download=not no_download,
    )


def complexity(
    widths: str | None = None,
    depths: str | None = None,
    depth: int = 4,
    width: int = 8,
    methods: str | None = None,
    seconds: float = 1.0,
    rounds: int = 5,
    threads: int = 1,
    out: Path = Path("complexity"),
    quick: bool = False,
) -> None:
    """Time the gradient of growing networks: weight by weight, and by backpropagation.

    Args:
        widths: Widths to time at a fixed depth, such as 2,4,8: units in every layer.
        depths: Depths to time at a fixed width, such as 2,3,4: layers of units, inputs and outputs included.
        depth: Number of layers of the networks whose width varies.
        width: Units per layer of the networks whose depth varies.
        methods: Methods to time, separated by commas: differences, differences-numpy, paths, python, ref,
            jit, aot. Default: all.
        seconds: Stop growing the networks of a method when one gradient takes longer than this.
        rounds: Number of timings of each method on each network; the median is reported.
        threads: Number of threads for NumPy and for the compiled kernels.
        out: Folder for the results (JSON) and the pictures.
        quick: Time small networks only, in two rounds; takes about ten seconds.
    """
    from fastnn import complexity

    smaller = {"widths": (2, 4, 8, 16, 32, 64), "depths": (2, 3, 4, 5, 6, 8, 12, 16)} if quick else {}
    given = {"widths": widths, "depths": depths}
    sizes = {name: sizes_of(text) for name, text in given.items() if text is not None}
    complexity.run(
        **{**smaller, **sizes},
        depth=depth,
        width=width,
        methods=tuple(complexity.METHODS) if methods is None else methods.split(","),
        limit=min(seconds, 0.2) if quick else seconds,
        rounds=min(rounds, 2) if quick else rounds,
        threads=threads,
        out=out,
    )


def compare(run: Path, plot: Path | None = None) -> None:
    """Compare the speed of libraries in a benchmark run.

    Args:
        run: JSON file that pytest-benchmark wrote.
        plot: Also draw the speedups into this picture (.png, .svg, .pdf).
    """
    from fastnn.measure import compare

    results = compare.load(run)
    print(compare.table(results))
    if plot is not None:
        print(f"written to {compare.plot(results, plot)}")


def curves(
    runs: list[Path], out: Path = Path("curves.png"), name: str = "accuracy", log: bool = False
) -> None:
    """Draw one curve of several runs; runs that differ only in the seed become a mean and its deviation.

    Args:
        runs: Folders of the runs.
        out: Picture to write (.png, .svg, .pdf).
        name: Curve to draw: loss, accuracy, val_loss, val_accuracy or lr (one value per epoch), or
            updates.loss (one value per update).
        log: Use a logarithmic y axis.
    """
    from fastnn.cli import run_pictures

    print(f"written to {run_pictures.draw_bands(runs, out, name=name, log=log)}")


def picture(kind: str, run: Path, out: Path | None = None) -> None:
    """Draw a picture of a training run.

    Args:
        kind: confusion (matrix), mistakes (misclassified images), filters (weights of the first layer),
            maps (feature maps of the convolutions), classes (sample images), augmented (images) or saliency
            (the pixels that decide); of a run on a table: confusion, importance (of the columns) or
            predictions (of a regression).
        run: Folder that fastnn train wrote.
        out: Picture to write (.png, .svg, .pdf). Default: <kind>.png in the folder of the run.
    """
    from fastnn.cli import run_pictures

    print(f"written to {run_pictures.draw(kind, run, out)}")


def predict(
    run: Path,
    data: Path,
    out: Path | None = None,
    id: str | None = None,
    probabilities: bool = False,
    format: str = "csv",
) -> None:
    """Predict the labels of new data with the network of a training run.

    Args:
        run: Folder that fastnn train wrote.
        data: CSV file (its columns are found by name), picture, folder of pictures, or NumPy file (.npy).
        out: CSV file to write. Default: print the predictions.
        id: Column of the CSV file that names the rows in the result. Default: row numbers from 1.
        probabilities: Add a column with the probability of each class.
        format: Columns of the result: csv (row, label) or kaggle (ImageId, Label).
    """
    from fastnn.cli import predict

    predict.predict(run, data, out=out, id_column=id, with_probabilities=probabilities, form=format)


def evaluate(run: Path, data: Path | None = None, no_download: bool = False) -> None:
    """Print how well the network of a training run predicts labelled data.

    Args:
        run: Folder that fastnn train wrote.
        data: Data with labels, as for fastnn predict. Default: the test set of the run.
        no_download: Fail instead of downloading missing data.
    """
    from fastnn.cli import predict

    predict.evaluate(run, data, download=not no_download)


def board(folder: Path = Path("runs"), port: int = 0) -> None:
    """Compare finished runs on a page in the browser, until Ctrl-C.

    Args:
        folder: Folder with the runs; folders in it are searched, too.
        port: Port of the page on this computer; 0 takes a free one.
    """
    from fastnn.board import runs, server

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the folder that has the runs of fastnn train")
    page = server.PageServer(runs.routes(folder), port)
    count = len(runs.find(folder))
    print(f"{count} runs in {folder}: {page.url}  (Ctrl-C ends it)", flush=True)
    if count == 0:
        print(
            f"{folder} has no runs of fastnn train yet: give the folder that has them, or train one, as in "
            "fastnn train digits, and press Read again on the page",
            flush=True,
        )
    while True:  # Ctrl-C ends a sleep on every system
        time.sleep(3600)


def reproduce(
    ids: list[str],
    out: Path = Path("runs/reports"),
    variant: str | None = None,
    quick: bool = False,
    jobs: int | None = None,
    redraw: bool = False,
    list: bool = False,
) -> None:
    """Run the experiments of reports, compare them with what was reported, and write a page about them.

    Args:
        ids: Experiments, such as s1.part5; s1 stands for all of that report, all for all.
        out: Folder for the results. Those that it has are not computed again.
        variant: Variant of the experiments, such as as-written, for those that have it. Default: corrected.
        quick: Take seconds per experiment, on fewer data; nothing is judged.
        jobs: Number of experiments to run at the same time. Default: the number of threads.
        redraw: Fill tables and figures again from the stored trainings.
        list: Print the experiments, and run nothing.
    """
    from fastnn.cli import reproduce_run

    if list or not ids:
        print(reproduce_run.listing())
        return
    reproduce_run.reproduce(ids, out=out, variant=variant, quick=quick, jobs=jobs, redraw=redraw)


def report(folder: Path = Path("runs/reports"), markdown: Path | None = None) -> None:
    """Write the page about reproduced experiments.

    Args:
        folder: Folder that fastnn reproduce wrote.
        markdown: File for a summary in Markdown.
    """
    from fastnn.cli import reproduce_run

    for path in reproduce_run.report(folder, markdown):
        print(f"written to {path}")


def profile(
    layers: str = "784,128,64,32,10",
    activation: str = "relu",
    batch_size: int = 32,
    optimizer: str = "sgd",
    threads: int | None = None,
    plot: Path | None = None,
) -> None:
    """Print how long each kernel call of a training step takes, for a multi-layer perceptron.

    Args:
        layers: Layer sizes, from the inputs to the classes, such as 784,128,10.
        activation: Activation after each hidden layer.
        batch_size: Number of samples per step. The samples are random.
        optimizer: Optimizer with its default arguments: sgd, adam, adamw or rmsprop.
        threads: Number of threads. Default: as many as the machine allows.
        plot: Also draw the times into this picture (.png, .svg, .pdf).
    """
    import fastnn as fn

    sizes = sizes_of(layers)
    if threads is not None:
        fn.set_num_threads(threads)
    model = fn.nets.mlp(sizes, activation=activation)
    rng = np.random.default_rng(0)
    x, y = rng.random((batch_size, sizes[0]), np.float32), rng.integers(sizes[-1], size=batch_size)
    found = fn.Trainer(model, optimizer=optimizer, seed=0).profile(x, y)
    print(found)
    if plot is not None:
        print(f"written to {found.plot(plot)}")


def probe(threads: list[int] | None, fresh: bool) -> None:
    """Print the peak FLOP/s and the memory bandwidth of this machine, a column for each thread count.

    The percentages in other tables refer to these figures. `fresh` measures again instead of reading the
    figures from the cache folder.
    """
    from fastnn.measure import probe

    counts = sorted({1, get_num_threads()}) if threads is None else list(dict.fromkeys(threads))
    print(probe.heading(), probe.table(counts, fresh=fresh), sep="\n")
    files = [file for count in counts if (file := probe.cache_file(count)) is not None]
    if not files:
        print("not saved: the user has no home folder, and XDG_CACHE_HOME is not set")
    elif all(file.exists() for file in files):
        print(f"saved in {files[0].parent}; use --fresh to measure again")
    else:
        print(f"not saved: cannot write to {files[0].parent}")
