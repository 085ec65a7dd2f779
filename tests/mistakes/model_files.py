"""Mistakes in model files and in the descriptions of architectures."""

from mistake import Mistake

ONE_FILE = "tests/test_one_file.py"
ARCHITECTURE = "tests/test_architecture.py"

MISTAKES = (
    Mistake(
        "a layer is missing from the table of layers that files may name",
        "fastnn/architecture.py",
        "        layers.LeakyReLU,\n",
        "",
        (ARCHITECTURE,),
    ),
    Mistake(
        "a user's class is taken for the layer of the same name",
        "fastnn/architecture.py",
        "if LAYERS.get(kind.__name__) is not kind:",
        "if kind.__name__ not in LAYERS:",
        (ARCHITECTURE,),
    ),
    Mistake(
        "a layer that occurs twice becomes two layers",
        "fastnn/architecture.py",
        "        self._numbers[id(layer)] = len(self._numbers)\n",
        "",
        (ARCHITECTURE,),
    ),
    Mistake(
        "a file may describe a model larger than itself",
        "fastnn/weights.py",
        "with limited(room), separate_generator():",
        "with limited(2**62), separate_generator():",
        (ONE_FILE,),
    ),
    Mistake(
        "the limit of the memory counts no parameters",
        "fastnn/param.py",
        "_room.set(room - array.size)",
        "_room.set(room)",
        (ONE_FILE,),
    ),
    Mistake(
        "the checksum leaves the weights out",
        "fastnn/model_record.py",
        "        crc = zlib.crc32(array.reshape(-1).data, crc)\n",
        "",
        (ONE_FILE,),
    ),
    Mistake(
        "a loaded model has lost which parameters are frozen",
        "fastnn/weights.py",
        "                setattr(params[name], setting, value)\n",
        "                params[name]\n",
        (ONE_FILE,),
    ),
    Mistake(
        "asymmetric padding is shown as padding of both axes",
        "fastnn/layers/conv.py",
        "return shortest((above, left)) if (above, left) == (below, right) else padding",
        "return shortest((above, left))",
        (ARCHITECTURE,),
    ),
)
