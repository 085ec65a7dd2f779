"""The subcommands `fastnn export` and `fastnn import`: ONNX files from runs, and models from ONNX files."""

from __future__ import annotations

from pathlib import Path

from fastnn.cli.commands import sizes_of
from fastnn.cli.description import DATA
from fastnn.cli.own_data import note
from fastnn.onnx import export_onnx, import_onnx
from fastnn.weights import load, save


def export_run(run: Path, out: Path, opset: int = 17, layout: str = "nchw") -> None:
    """Write the trained model of a run as an ONNX file.

    Args:
        run: Folder that fastnn train wrote, or a file of fn.save.
        out: ONNX file to write. The input of a run has the shape (N, channels, height, width), or (N,
            features) of a table.
        opset: Version of the ONNX operators, at least 17.
        layout: nchw, or nhwc for an input of shape (N, height, width, channels).
    """
    from fastnn.cli.run_pictures import settings_and_model

    if run.is_file():
        about, model, shape = None, load(run), None
    else:
        _, about, model = settings_and_model(run)
        shape = (*about.inputs, 1) if len(about.inputs) == 2 else about.inputs
    print(f"written to {export_onnx(model, out, opset=opset, input_shape=shape, layout=layout)}")
    if about is not None and not about.is_image:
        output = "; its output is (value - mean) / std of the label" if about.classes is None else ""
        note(
            f"the graph takes features as {DATA} describes them: (value - mean) / std, and 0 or 1 per "
            f"category{output}"
        )


def import_model(
    model: Path, out: Path | None = None, input_shape: str | None = None, layout: str | None = None
) -> None:
    """Read an ONNX file, print its layers and write the model as a safetensors file.

    Args:
        model: ONNX file.
        out: File to write. Default: the name of the ONNX file with the ending .safetensors.
        input_shape: Shape of one sample as in the ONNX file, such as 3,224,224, if the file does not fix it.
        layout: Layout of the input of the ONNX file: nchw or nhwc. Default: the one that fits.
    """
    shape = None if input_shape is None else sizes_of(input_shape)
    net = import_onnx(model, input_shape=shape, layout=layout)
    print(net)
    print(f"written to {save(net, model.with_suffix('.safetensors') if out is None else out)}")
