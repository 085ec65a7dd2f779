"""Mistakes in the export and the import of ONNX files."""

from mistake import Mistake

EXPORT = ("tests/onnx/test_export.py",)
IMPORT = ("tests/onnx/test_import.py",)
UNTRUSTED = ("tests/onnx/test_untrusted.py",)

MISTAKES = (
    Mistake(
        "the matrix behind Flatten keeps its rows in an ONNX file",
        "fastnn/onnx/layer_writers.py",
        "layer.weight.value.reshape(-1, x.channels, outputs).transpose(1, 0, 2).reshape(inputs, outputs)",
        "layer.weight.value.reshape(inputs, outputs)",
        EXPORT,
    ),
    Mistake(
        "the matrix behind Flatten keeps the rows of an ONNX file",
        "fastnn/onnx/batch.py",
        "return split.swapaxes(0, 1).reshape(features.shape)",
        "return split.reshape(features.shape)",
        IMPORT,
    ),
    Mistake(
        "weights of an ONNX file may be anywhere",
        "fastnn/onnx/model_file.py",
        "inside = path.is_relative_to(self._folder) and not Path(location).is_absolute()",
        "inside = True",
        UNTRUSTED,
    ),
    Mistake(
        "two paths of an ONNX graph share a layer",
        "fastnn/onnx/assembly.py",
        "                self._used.add(value)",
        "                pass",
        UNTRUSTED,
    ),
    Mistake(
        "any number of large ONNX constants is computed",
        "fastnn/onnx/importer.py",
        "        self._room -= folded.size",
        "        self._room -= 1",
        ("tests/onnx/test_untrusted.py::test_many_large_constants_are_limited_together",),
    ),
    Mistake(
        "an average that leaves out padding is read as one that counts it",
        "fastnn/onnx/operators/windows.py",
        '{"count_include_pad": counts_padding} if',
        '{"count_include_pad": True} if',
        IMPORT,
    ),
)
