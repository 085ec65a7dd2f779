"""Data sets, readers of CSV, IDX and image files, one-hot labels and splits.

May import NumPy, `_arrays`, `files` and, in `read_csv`, the kernels; nothing else of fastnn.
"""

from fastnn.data.att_faces import att_faces
from fastnn.data.cifar10 import cifar10
from fastnn.data.csv import read_csv
from fastnn.data.digits import digits
from fastnn.data.emnist import emnist
from fastnn.data.errors import DatasetError, DatasetNotFoundError
from fastnn.data.fetching import fetch_images
from fastnn.data.idx import read_idx, write_idx
from fastnn.data.images import image_folder, resize
from fastnn.data.labels import balanced_class_weights, one_hot
from fastnn.data.mnist import mnist
from fastnn.data.splits import holdout, split, stratified, subset
from fastnn.data.synthetic import two_classes
from fastnn.data.table import Table, from_table

__all__ = [
    "DatasetError",
    "DatasetNotFoundError",
    "Table",
    "att_faces",
    "balanced_class_weights",
    "cifar10",
    "digits",
    "emnist",
    "fetch_images",
    "from_table",
    "holdout",
    "image_folder",
    "mnist",
    "one_hot",
    "read_csv",
    "read_idx",
    "resize",
    "split",
    "stratified",
    "subset",
    "two_classes",
    "write_idx",
]
