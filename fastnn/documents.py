"""Read JSON files that may come from other people."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file that holds an object, and return it as a dict.

    Raises ValueError, with the path, for any other content, and OSError if the file cannot be read.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:  # RecursionError: 100,000 opening brackets
        raise ValueError(f"{os.fspath(path)} is not a valid JSON file: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{os.fspath(path)} must hold a JSON object, such as {{...}}, not {type(content).__name__}"
        )
    return content
