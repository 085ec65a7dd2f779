"""Models as ONNX files: `export_onnx` writes one, `import_onnx` reads one.

`export.py` walks through the layers and `layer_writers.py` has one function per class of layers.
`model_file.py` reads and checks a file, `folding.py` computes its constants, `importer.py` turns its graph
into layers, and the tables of `operators/` have one function per operator. The package `onnx` is imported
when needed. May import `weights` and the modules below it.
"""

from fastnn.onnx.errors import ModelFormatError
from fastnn.onnx.export import export_onnx
from fastnn.onnx.importer import import_onnx

__all__ = ["ModelFormatError", "export_onnx", "import_onnx"]
