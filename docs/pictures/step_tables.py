"""Write the tables of training steps in README and docs/performance.md from a run of bench/peers.py.

    python bench/peers.py --threads 1 2 --json docs/pictures/speed.json
    python docs/pictures/step_tables.py docs/pictures/speed.json README.md docs/performance.md

replaces what stands between `<!-- steps A B: ... -->` and `<!-- end of steps -->`: a row for each of the nets
A and B; with "peak" behind the letters, the table has the fraction of the peak, too.
"""

import argparse
import re
from pathlib import Path

from steps import Net, flop, machine, read

MARKED = re.compile(
    r"(<!-- steps (?P<letters>[\w ]+?)(?P<peak>, peak)? -->\n).*?(?P<end><!-- end of steps -->)", re.S
)
THREADS = (1, 2)


def microseconds(seconds: float) -> str:
    micros = seconds * 1e6
    return f"{micros:,.0f}" if micros >= 99.5 else f"{micros:.1f}"


def cells(times: dict[str, float], peak: str | None) -> list[str]:
    """The time of fastnn, the best peer, their ratio, and the fraction of the peak."""
    own, peers = times["fastnn"], {name: time for name, time in times.items() if name != "fastnn"}
    best = min(peers, key=peers.get)
    found = [microseconds(own), f"{microseconds(peers[best])} ({best})", f"{peers[best] / own:.2f}"]
    return found if peak is None else [*found, peak]


def table(path: Path, letters: list[str], with_peak: bool) -> str:
    """Return the Markdown table of these nets."""
    by_threads = {threads: read(path, threads, letters) for threads in THREADS}
    peaks, work = machine(path)["fma_gflops"], flop(path)
    head = ["step"]
    for threads in THREADS:
        head += [f"fastnn, {threads} thread{'s' * (threads > 1)}", "best peer", "ratio"]
        head += ["of the peak"] * with_peak
    rows = [head, ["---"] * len(head)]

    def of_peak(net: Net, seconds: float, threads: int) -> str | None:
        if not with_peak:
            return None
        return f"{100 * work[net.letter] / seconds / (peaks[str(threads)] * 1e9):.0f} %"

    for net in sorted(by_threads[THREADS[0]], key=lambda net: letters.index(net.letter)):
        row = [f"{net.layers}; {net.training}"]
        for threads in THREADS:
            times = by_threads[threads][net]
            row += cells(times, of_peak(net, times["fastnn"], threads))
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def filled(text: str, run: Path) -> str:
    """Return the page with its tables replaced."""

    def replace(match: re.Match[str]) -> str:
        return match[1] + table(run, match["letters"].split(), bool(match["peak"])) + "\n" + match["end"]

    return MARKED.sub(replace, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the JSON file of bench/peers.py")
    parser.add_argument("pages", type=Path, nargs="+", help="pages whose tables are replaced")
    options = parser.parse_args()
    for page in options.pages:
        page.write_text(filled(page.read_text(), options.run))
        print(f"written to {page}")


if __name__ == "__main__":
    main()
