"""Mistakes in the export and the import of ONNX files."""

from mistake import Mistake

EXPORT = ("tests/onnx/test_export.py",)
IMPORT = ("tests/onnx/test_import.py",)
GROUPS = ("tests/onnx/test_group_norm.py",)
UNTRUSTED = ("tests/onnx/test_untrusted.py",)

MISTAKES = (
    Mistake(
        "the matrix behind Flatten keeps its rows in an ONNX file",
        "fastnn/onnx/layer_writers.py",
        "weight = graph.weight(_flat_reordered(layer.weight.value, x.channels))",
        "weight = graph.weight(layer.weight.value)",
        EXPORT,
    ),
    Mistake(
        "the matrix behind Flatten keeps the rows of an ONNX file",
        "fastnn/onnx/batch.py",
        "return features[to_channels_last((channels, len(features) // channels))]",
        "return features",
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
    Mistake(
        "sequences stay (N, L, C) in an ONNX file",
        "fastnn/channel_order.py",
        "    return next(known, False)\n",
        "    return False\n",
        ("tests/onnx/test_export.py::test_sequences_have_their_channels_first_where_layers_take_them_so",),
    ),
    Mistake(
        "integers of an ONNX file are features",
        "fastnn/onnx/batch.py",
        "        if self.are_indices:\n",
        "        if False:\n",
        UNTRUSTED,
    ),
    Mistake(
        "groups of an ONNX graph are a group norm although another node reads them",
        "fastnn/onnx/groups.py",
        "values.uses[name] == len(readers) == 1",
        "len(readers) >= 1",
        GROUPS,
    ),
    Mistake(
        "groups of an ONNX graph are a group norm although they get another shape",
        "fastnn/onnx/groups.py",
        "return tuple(sizes[1:]) == values.file_shape(source)[1:]",
        "return True",
        GROUPS,
    ),
    Mistake(
        "the bias of a group norm of PyTorch is lost",
        "fastnn/onnx/site.py",
        "layer.beta.value * scale + shift",
        "layer.beta.value * scale",
        GROUPS,
    ),
)
