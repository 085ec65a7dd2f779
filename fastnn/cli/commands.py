"""What the commands of `fastnn` do, but for `train`: arguments in, a call and what is printed.

The command line takes types, defaults and help from here (`fastnn.cli.main`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastnn import get_num_threads


def sizes_of(text: str) -> tuple[int, ...]:
    """784,128,10 as numbers. Raises ValueError for other words."""
    try:
        return tuple(int(size) for size in text.strip("[]()").split(","))
    except ValueError:
        raise ValueError(f"sizes such as 784,128,10 are wanted, not {text!r}") from None


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
    """Train at each point of a grid of settings with several seeds, and compare.

    Args:
        config: A YAML file of settings, as for fastnn train, or the config.json of a run.
        grid: A setting and its values, such as optimizer.lr=0.1,0.3; several: all combinations.
        seeds: A range such as 0:3, or numbers such as 0,1,2.
        jobs: How many trainings run at a time, on one thread each; by default as many as there are threads.
        executor: threads of one process, or joblib for several processes.
        out: The folder to write to; by default a new one in runs/.
        resume: Go on with the sweep in --out that was killed or interrupted.
        no_download: Do not download missing data.
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
    """Time one gradient weight by weight and by backpropagation, over growing nets.

    Args:
        widths: Units in each layer of the nets of the first series, such as 2,4,8.
        depths: Layers of the nets of the second series, the inputs among them, such as 2,3,4.
        depth: Layers of the nets of the first series.
        width: Units in each layer of the nets of the second series.
        methods: Some of differences, differences-numpy, paths, python, ref, jit and aot.
        seconds: A method grows until one gradient takes longer.
        rounds: How often each method is timed on each net; the median counts.
        threads: How many threads NumPy and the compiled kernels may use.
        out: The folder to write figures and pictures to.
        quick: Small nets and two rounds: some ten seconds.
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
    """Print which library was how fast in a benchmark run.

    Args:
        run: The JSON file that the benchmarks wrote.
        plot: Draw the speedups into this picture, too.
    """
    from fastnn.measure import compare

    results = compare.load(run)
    print(compare.table(results))
    if plot is not None:
        print(f"written to {compare.plot(results, plot)}")


def curves(
    runs: list[Path], out: Path = Path("curves.png"), name: str = "accuracy", log: bool = False
) -> None:
    """Draw a curve of several runs: those that differ in their seed alone as a mean with its deviation.

    Args:
        runs: The folders of the runs.
        out: Where to write the picture (.png, .svg, .pdf).
        name: Which curve: loss, accuracy, val_loss, val_accuracy, lr, or updates.loss for one per update.
        log: Make the axis logarithmic.
    """
    from fastnn.cli import run_pictures

    print(f"written to {run_pictures.draw_bands(runs, out, name=name, log=log)}")


def picture(kind: str, run: Path, out: Path | None = None) -> None:
    """Draw a picture of a run that `fastnn train` has written.

    Args:
        kind: confusion, mistakes, filters, maps (what convolutions make of an image), classes or augmented.
        run: The folder of the run.
        out: Where to write the picture (.png, .svg, .pdf); by default <kind>.png in that folder.
    """
    from fastnn.cli import run_pictures

    print(f"written to {run_pictures.draw(kind, run, out)}")


def profile(
    layers: str = "784,128,64,32,10",
    activation: str = "relu",
    batch_size: int = 32,
    optimizer: str = "sgd",
    threads: int | None = None,
    plot: Path | None = None,
) -> None:
    """Print where the time of one training step goes, kernel by kernel.

    Args:
        layers: Numbers of units, the inputs first, such as 784,128,10.
        activation: Between two layers.
        batch_size: Samples per step; they are random numbers.
        optimizer: sgd or adam, with their defaults.
        threads: How many threads to use; by default what the machine allows.
        plot: Draw the times into this picture, too.
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
    """Print how fast this machine is at best: what the percentages of other tables refer to."""
    from fastnn.measure import probe

    counts = sorted({1, get_num_threads()}) if threads is None else list(dict.fromkeys(threads))
    print(probe.heading(), probe.table(counts, fresh=fresh), sep="\n")
    files = [probe.cache_file(count) for count in counts]
    if all(file.exists() for file in files):
        print(f"kept in {files[0].parent}: --fresh measures again")
    else:
        print(f"not kept: {files[0].parent} cannot be written to")
