"""Pages in the browser: a running training (`fn.LivePage`), and finished runs (`fastnn board`).

`server` serves them on this computer only. `live` reads a running training, `runs` the folders of finished
ones. `static` holds the HTML, CSS and JavaScript, which need no network and no build step.
"""

from fastnn.board.live import LivePage

__all__ = ["LivePage"]
