"""Features that are not NumPy arrays. Rows are converted to an array when a mini-batch needs them.

Optional libraries are used, never imported, before an object of theirs is passed.
"""

from fastnn._sources.base import Features as Features
from fastnn._sources.base import Rows as Rows
from fastnn._sources.base import Selection as Selection
from fastnn._sources.base import Source as Source
from fastnn._sources.base import block_numbers as block_numbers
from fastnn._sources.base import reading_ahead as reading_ahead
from fastnn._sources.base import rows_at_once as rows_at_once
from fastnn._sources.items import ItemRows as ItemRows
from fastnn._sources.items import Items as Items
from fastnn._sources.items import has_items as has_items
from fastnn._sources.rows import feature_rows as feature_rows
from fastnn._sources.streams import Batch as Batch
from fastnn._sources.streams import Reader as Reader
from fastnn._sources.streams import Stream as Stream
from fastnn._sources.streams import Streamed as Streamed
from fastnn._sources.streams import is_stream as is_stream
