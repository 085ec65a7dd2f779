"""Mistakes in what is read from a trained network."""

from mistake import Mistake

INSIGHT, INSPECTION = "tests/test_insight.py", "tests/training/test_inspection.py"

MISTAKES = (
    Mistake(
        "saliency is the gradient of all outputs",
        "fastnn/insight.py",
        "        dy = np.zeros_like(outputs)\n",
        "        dy = np.ones_like(outputs)\n",
        (INSIGHT,),
    ),
    Mistake(
        "the classes of a later batch are those of the first",
        "fastnn/insight.py",
        "np.broadcast_to(labels, (count,))[part]",
        "np.broadcast_to(labels, (count,))[: part.stop and part.stop - part.start]",
        (INSIGHT,),
    ),
    Mistake(
        "occlusion leaves out the last pixels",
        "fastnn/insight.py",
        "[*range(0, size - window, step), size - window]",
        "[*range(0, size - window, step)]",
        (INSIGHT,),
    ),
    Mistake(
        "inspect looks at the model itself",
        "fastnn/training/inspection.py",
        "twin = copy.deepcopy(model)",
        "twin = model",
        (INSPECTION,),
    ),
    Mistake(
        "inspect drops units",
        "fastnn/training/inspection.py",
        "twin.forward(inputs, train=train)",
        "twin.forward(inputs, train=True)",
        (INSPECTION,),
    ),
)
