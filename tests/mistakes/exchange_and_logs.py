"""The mistakes in conversions from and to other libraries, and in logs, that `planted_mistakes.py` plants."""

from mistake import Mistake

IN, BACK, FILES, EPOCHS = (
    "tests/exchange/test_from_torch.py",
    "tests/exchange/test_torch_and_back.py",
    "tests/nets/test_torch_files.py",
    "tests/loggers/test_epoch_files.py",
)

MISTAKES = (
    Mistake(
        "features of a flattened image in PyTorch's order",
        "fastnn/exchange/torch_shapes.py",
        "order=None if orders.is_same(now) else now)",
        "order=None)",
        (IN, BACK),
    ),
    Mistake(
        "running statistics in the order of the other library",
        "fastnn/channel_order.py",
        "for held in (*layer.parameters(), *layer.buffers()):",
        "for held in layer.parameters():",
        (IN, BACK),
    ),
    Mistake(
        "frozen parameters of PyTorch trained",
        "fastnn/exchange/torch_call.py",
        "        param.trainable = tensor.requires_grad\n",
        "",
        (BACK,),
    ),
    Mistake(
        "tensor overwritten in place and read again",
        "fastnn/exchange/from_torch.py",
        "if any(place[user] > place[node] for user in node.args[0].users):",
        "if False:",
        (IN,),
    ),
    Mistake(
        "shared parameter copied",
        "fastnn/exchange/torch_call.py",
        "            if id(tensor) in self.used:\n",
        "            if False:\n",
        (IN,),
    ),
    Mistake(
        "pickles of weight files run",
        "fastnn/nets/torch_files.py",
        'map_location="cpu", weights_only=True)\n',
        'map_location="cpu", weights_only=False)\n',
        (FILES,),
    ),
    Mistake(
        "repeated epochs of a resumed training twice in the log",
        "fastnn/loggers/epoch_files.py",
        "if _epoch(row) in range(1, training.epoch + 1)]",
        "if _epoch(row) > 0]",
        (EPOCHS,),
    ),
    Mistake(
        "half a line left by a full disk",
        "fastnn/loggers/appending.py",
        "                file.truncate(size)\n",
        "                pass\n",
        (EPOCHS,),
    ),
    Mistake(
        "an event file named by a function of POSIX",
        "fastnn/loggers/tensorboard.py",
        "{socket.gethostname()}",
        "{os.uname().nodename}",
        ("tests/test_portability.py",),
    ),
    Mistake(
        "every folder private on Windows",
        "kernels/jit/private_folder.py",
        'return folder.is_relative_to(Path(os.path.expanduser("~")).resolve())',
        "return True",
        ("tests/kernels/test_private_folder.py",),
    ),
    Mistake(
        "PyTorch's pools get an uneven padding as if it were even",
        "fastnn/exchange/layer_modules.py",
        "padding, ceil_mode=not is_even, **options)",
        "padding, ceil_mode=False, **options)",
        ("tests/exchange/test_same_padding.py",),
    ),
    Mistake(
        "PyTorch's convolutions get a strided padding of the wrong shape",
        "fastnn/exchange/layer_modules.py",
        "return window.padding_of(image_shape(layer, shape, layer.sides))",
        "return window.padding_of((1, 1))",
        ("tests/exchange/test_same_padding.py",),
    ),
    Mistake(
        "PyTorch's transposed convolution cuts off both sides alike",
        "fastnn/exchange/layer_modules.py",
        "_border(((-above, -below), (-left, -right)), layer)",
        "_border(((-below, -above), (-right, -left)), layer)",
        ("tests/exchange/test_same_padding.py",),
    ),
)
