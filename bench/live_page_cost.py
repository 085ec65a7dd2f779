"""How much an open live page slows a training: epochs of MNIST with and without `fn.LivePage`, in turn.

    python bench/live_page_cost.py [--rounds 9] [--epochs 4]

A client reads the messages of the page, as a browser does. Prints minimum and median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
import urllib.request

import fastnn as fn


def seconds(data, epochs, callbacks):
    fn.manual_seed(0)
    model = fn.nets.mlp((784, 128, 64, 32, 10))
    start = time.perf_counter()
    fn.fit(
        model, data, validation=0.1, epochs=epochs, seed=0, callbacks=callbacks, watch=False, progress=False
    )
    return time.perf_counter() - start


def watched(data, epochs):
    with fn.LivePage(show_url=False) as page:
        reply = urllib.request.urlopen(page.url + "events")
        threading.Thread(target=reply.read, daemon=True).start()
        return seconds(data, epochs, page)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    (x, y), _ = fn.data.mnist()
    data = x.reshape(len(x), 784), y
    times = {"alone": [], "with a page": []}
    for _ in range(arguments.rounds):
        times["alone"].append(seconds(data, arguments.epochs, None))
        times["with a page"].append(watched(data, arguments.epochs))
    for name, found in times.items():
        print(f"{name:12} minimum {min(found):.3f} s, median {statistics.median(found):.3f} s")
    for what, of in (("minimum", min), ("median", statistics.median)):
        alone, page = (of(found) for found in times.values())
        print(f"slower by {page / alone - 1:+.2%} ({what})")


if __name__ == "__main__":
    main()
