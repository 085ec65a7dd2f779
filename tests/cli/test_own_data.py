"""`fastnn train` on the user's own data: CSV files and folders of pictures."""

import dataclasses
import json
import re
import signal

import numpy as np
import pytest
from matplotlib.image import imread

import fastnn as fn
from fastnn.cli import own_data, run_drawings
from fastnn.cli.main import main
from fastnn.cli.own_settings import FolderSettings, TableSettings
from tests.cli.own_files import digit_files, flowers, houses, pictures, write_rows

TABLE = {"config.json", "data.json", "history.json", "weights.safetensors", "curves.png", "importance.png"}
CLASSES = TABLE | {"confusion.png", "mistakes.csv"}
IMAGES = CLASSES - {"importance.png", "mistakes.csv"} | {"mistakes.png", "weights.png"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*words):
    return main(["train", *map(str, words)])


def read(path):
    return json.loads(path.read_text())


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_a_table_with_text_columns_is_learned(here, capsys):
    flowers(here / "f.csv", 300)
    assert train("f.csv", "--label", "species", "--drop", "id", "--epochs", 20) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "f.csv: 240 training rows, 60 test rows, 3 classes"
    assert lines[1].startswith("5-64-32-3, relu: ")  # length, weight and three colours
    run = here / "runs" / "f-1"
    assert names_in(run) == CLASSES
    assert read(run / "history.json")["test"]["accuracy"] > 0.9
    assert imread(run / "importance.png").std() > 0.05
    about = read(run / "data.json")
    assert about["classes"] == ["rose", "small", "tulip"]
    assert (about["label"], about["inputs"], about["target"]) == ("species", [5], None)
    assert [column["name"] for column in about["columns"]] == ["length", "weight", "colour"]
    assert about["columns"][2]["categories"] == ["green", "red", "white"]
    settings = read(run / "config.json")["settings"]
    assert settings["path"] == str(here / "f.csv")
    assert "layers" not in settings


def test_misclassified_rows_are_listed_by_confidence(here):
    flowers(here / "f.csv", 200)
    assert train("f.csv", "--label", "species", "--drop", "id", "--epochs", 1, "--out", "run") == 0
    header, *lines = (here / "run" / "mistakes.csv").read_text().splitlines()
    assert header == "row,true,predicted,probability"
    rows = (here / "f.csv").read_text().splitlines()
    assert lines
    for line in lines:
        row, true, predicted, _ = line.split(",")
        assert rows[int(row)].endswith(f",{true}")
        assert true != predicted
    confidences = [float(line.split(",")[3]) for line in lines]
    assert confidences == sorted(confidences, reverse=True)


def test_statistics_come_from_the_training_rows_alone(here):
    flowers(here / "f.csv", 100)
    settings = TableSettings(
        path="f.csv", label="species", drop=("id",), validation=0.3, test="0.3", seed=3, missing="mean"
    )
    loaded = own_data.load(settings)
    _, training, validation = own_data.prepared(settings, loaded)
    raw = {len(part[0]): part[0] for part in (loaded.train, loaded.test)}
    assert sorted(raw) == sorted((len(training[0]) + len(validation[0]), len(loaded.test[0])))
    np.testing.assert_allclose(training[0][:, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(training[0][:, :2].std(axis=0), 1, atol=1e-5)
    assert abs(validation[0][:, :2].mean(axis=0)).max() > 1e-3
    assert set(np.unique(training[0][:, 2:])) == {0, 1}  # categories are not standardized
    # The split depends on the seed alone, and every row is in one part.
    again = own_data.load(settings)
    np.testing.assert_array_equal(again.test[0], loaded.test[0])
    other = own_data.load(dataclasses.replace(settings, seed=4))
    assert not np.array_equal(other.test_rows, loaded.test_rows)


def test_the_rarest_class_stays_in_the_training_set(here):
    rows = [[n, "rare" if n == 0 else "ab"[n % 2]] for n in range(40)]
    write_rows(here / "r.csv", ["x", "y"], rows)
    for seed in range(5):
        loaded = own_data.load(TableSettings(path="r.csv", label="y", seed=seed))
        assert set(loaded.train[1]) == {0, 1, 2}
        assert len(loaded.test[1]) == 8


def test_regression_reports_r2_in_the_units_of_the_label(here, capsys):
    houses(here / "h.csv")
    command = ["h.csv", "--label", "price", "--task", "regression", "--epochs", 60, "--validation", 0.1]
    assert train(*command, "--out", "run") == 0
    assert names_in(here / "run") == TABLE | {"predictions.png"}
    history = read(here / "run" / "history.json")
    assert history["test"]["r2"] > 0.95
    assert history["epochs"]["val_r2"][-1] > 0.9
    assert read(here / "run" / "config.json")["settings"]["loss"] == "squared_error"
    target = read(here / "run" / "data.json")["target"]
    assert 100_000 < target["mean"] < 600_000
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"R2 {history['test']['r2']:.4f}, mean absolute error ")
    assert float(out.split()[-1]) > 1000  # of a price, not of a standardized value


def test_a_folder_of_pictures_is_learned(here, capsys):
    pictures(here / "photos")
    assert train("photos/", "--epochs", 10, "--hidden", "16", "--out", "run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "photos: 19 training images, 5 test images, 2 classes"
    assert lines[1].startswith("3072-16-2, relu: ")  # 32 x 32 in colour
    assert names_in(here / "run") == IMAGES
    about = read(here / "run" / "data.json")
    assert (about["inputs"], about["classes"], about["columns"]) == ([32, 32, 3], ["blue one", "red one"], [])
    assert read(here / "run" / "history.json")["test"]["accuracy"] == 1
    for kind in ("confusion", "mistakes", "filters", "classes", "saliency"):
        assert main(["picture", kind, "run"]) == 0
    model = fn.nets.mlp([3072, 16, 2])
    fn.load(model, here / "run" / "weights.safetensors")
    assert model.classes.tolist() == ["blue one", "red one"]  # the weights alone know the names


def test_grey_pictures_have_one_channel_and_another_folder_may_be_the_test_set(here, capsys):
    pictures(here / "train", colour=False)
    pictures(here / "test", 3, colour=False, seed=1)
    options = ["--size", "16x12", "--epochs", 1, "--rotate", 5, "--test", "test"]
    assert train("./train", *options, "--out", "run") == 0
    assert capsys.readouterr().out.startswith("train: 24 training images, 6 test images")
    assert read(here / "run" / "data.json")["inputs"] == [16, 12]


def test_the_convolutional_network_takes_colour_pictures_of_any_size(here):
    pictures(here / "train", 6)
    options = ["--model", "cnn", "--size", 9, "--epochs", 1]
    assert train("train/", *options, "--out", "run") == 0
    assert read(here / "run" / "data.json")["inputs"] == [9, 9, 3]
    assert main(["picture", "maps", "run"]) == 0


def test_columns_of_pixels_become_images(here, capsys):
    digit_files(here)
    assert train("train.csv", "--label", "label", "--image", "8x8", "--epochs", 12, "--out", "run") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("64-64-32-10, relu: ")
    assert names_in(here / "run") == IMAGES
    about = read(here / "run" / "data.json")
    assert (about["inputs"], about["classes"]) == ([8, 8], list(range(10)))
    assert about["columns"][0] == {"name": "pixel0", "categories": None, "mean": None, "std": None}
    assert read(here / "run" / "history.json")["test"]["accuracy"] > 0.6


def test_missing_cells_are_refused_or_filled(here, capsys):
    flowers(here / "f.csv", missing=True)
    command = ["f.csv", "--label", "species", "--drop", "id", "--epochs", 1]
    assert train(*command) == 1
    assert (
        "column 'length' has no value in 6 rows, first in row 4: train with --missing mean"
        in capsys.readouterr().err
    )
    assert not (here / "runs").exists()
    assert train(*command, "--missing", "mean", "--out", "run") == 0
    assert read(here / "run" / "data.json")["missing"] == "mean"


def test_numbers_may_be_categories(here):
    rows = [[n % 3, n * 7 % 10, "ab"[n % 3 == 1]] for n in range(60)]
    write_rows(here / "c.csv", ["kind", "noise", "y"], rows)
    assert train("c.csv", "--label", "y", "--categorical", "kind", "--epochs", 1, "--out", "run") == 0
    columns = read(here / "run" / "data.json")["columns"]
    assert columns[0]["categories"] == ["0", "1", "2"]
    assert columns[1]["categories"] is None


def bad_tables(here):
    flowers(here / "f.csv")
    houses(here / "h.csv")
    write_rows(here / "mixed.csv", ["age", "y"], [[n if n != 7 else "?", n % 2] for n in range(20)])
    write_rows(here / "names.csv", ["name", "y"], [[f"person {n}", n % 2] for n in range(50)])
    write_rows(here / "one.csv", ["x", "y"], [[n, "same"] for n in range(9)])
    write_rows(here / "nolabel.csv", ["x", "y"], [[n, "" if n == 4 else "ab"[n % 2]] for n in range(9)])
    write_rows(here / "inf.csv", ["x", "y"], [["inf" if n == 2 else n, "ab"[n % 2]] for n in range(9)])
    write_rows(here / "only.csv", ["y"], [["a"], ["b"]])
    write_rows(here / "few.csv", ["x", "y"], [[1, "a"], [2, "b"]])
    write_rows(here / "bare.csv", [1, 2], [[1, 2]])
    write_rows(here / "part.csv", ["x", "y"], [[n, n if n != 6 else "?"] for n in range(9)])
    write_rows(here / "endless.csv", ["x", "y"], [[n, "inf" if n == 3 else n % 2] for n in range(9)])
    write_rows(here / "large.csv", ["x", "y"], [[n, 2**53 if n == 3 else n % 2] for n in range(9)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["f.csv"], r"pass --label NAME, the column of .*f\.csv to predict: the columns are id, length"),
        (["f.csv", "--label", "Specis"], "has no column 'Specis': did you mean 'species'"),
        (["f.csv", "--label", "species", "--drop", "wieght"], "did you mean 'weight'"),
        (["h.csv", "--label", "price"], r"78 different values in 80 rows, .* pass --task regression"),
        (["h.csv", "--label", "area"], r"numbers such as .* are no classes: pass --task regression"),
        (["h.csv", "--label", "city", "--task", "regression"], "must have numbers for regression, but has"),
        (["mixed.csv", "--label", "y"], r"column 'age' has numbers, but also '\?' in row 8"),
        (["names.csv", "--label", "y"], "names or identifiers: leave it out with --drop 'name'"),
        (["names.csv", "--label", "name"], "50 different values in 50 rows, which are too many classes"),
        (["one.csv", "--label", "y"], "'same' in all rows: there is nothing to learn"),
        (["nolabel.csv", "--label", "y"], "column 'y' has no value in row 5: drop such rows"),
        (["inf.csv", "--label", "y"], "column 'x' is infinite in row 3"),
        (["only.csv", "--label", "y"], "has no columns of features"),
        (
            ["few.csv", "--label", "y"],
            "no samples can be held out for --test: there are 2, and training needs one of each of the 2",
        ),
        (["bare.csv", "--label", "2"], "the first line has only numbers"),
        (["f.csv", "--label", "species", "--image", "8x8"], "need 64 columns of pixels, or 192 in colour"),
        (["h.csv", "--label", "city", "--image", "1x2"], "pixels must be integers from 0 to 255"),
        (["part.csv", "--label", "y", "--task", "regression"], r"'y' has numbers, but also '\?' in row 7"),
        (["endless.csv", "--label", "y"], r"numbers such as inf \(row 4\), which are no classes"),
        (["large.csv", "--label", "y"], r"numbers such as 9007199254740992 \(row 4\), which are no classes"),
        (["table", "--label", "y"], "pass the path of the data: fastnn train data.csv --label NAME, or"),
        (
            ["folder"],
            "pass the path of the data: fastnn train data.csv --label NAME, or fastnn train photos/",
        ),
        (["bare.yaml"], "pass the path of the data"),
        (["none.csv", "--label", "y"], "no such file"),
        (["./none", "--epochs", "1"], "is not a folder"),
        (["f.csv", "--label", "species", "--test", "none.csv"], "no such file"),
        (["f.csv", "--label", "species", "--drop", "id", "--hidden", "268435456"], "weights, but at most"),
    ],
)
def test_data_that_cannot_be_used_are_refused_before_a_folder_is_made(here, capsys, words, message):
    bad_tables(here)
    pictures(here, 2)  # the current folder could be trained on
    (here / "bare.yaml").write_text("dataset: folder")
    before = names_in(here)
    assert train(*words) in (1, 3)
    assert re.search(message, capsys.readouterr().err)
    assert names_in(here) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test", "0"], "test must be a fraction above 0 and below 1, or a path"),
        (["--test", ""], "test must be a fraction above 0 and below 1, or a path, not empty"),
        (["--test", "1.5"], "test must be a fraction above 0 and below 1, or a path"),
        (["--task", "ranking"], "unknown task 'ranking': choose one of classification, regression"),
        (["--missing", "skip"], "unknown rule for missing cells 'skip': choose one of error, mean"),
        (["--task", "regression", "--loss", "hinge"], "loss 'hinge' is not for regression: choose one of"),
        (["--image", "8by8"], "sides must be height x width, such as 32x32, not '8by8'"),
        (["--image", "0x8"], "image must be a height and a width from 1 to 1024"),
        (["--rotate", "5"], "rotate, shift and zoom need images"),
        (["--hidden", "8,0"], "each of hidden must be an integer of at least 1, not 0"),
        (["--lable", "y"], "unknown option --lable: did you mean --label?"),
        (["--layers", "3,4,5"], "unknown option --layers"),
    ],
)
def test_usage_errors_of_tables(here, capsys, options, message):
    with pytest.raises(SystemExit) as exit_:
        train("f.csv", *options)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_on_a_table_is_resumed_and_repeated(here, monkeypatch, capsys):
    """Interrupted and resumed from another folder, or repeated from its config.json: the same weights."""
    flowers(here / "f.csv")
    command = [here / "f.csv", "--label", "species", "--drop", "id", "--epochs", 6]
    assert train(*command, "--out", here / "whole") == 0

    class Interrupted(fn.Trainer):
        def updates_from(self, *arguments):
            if self.updates >= 5:
                signal.raise_signal(signal.SIGINT)
            return super().updates_from(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("fastnn.training.fit.Trainer", Interrupted)
        assert train(*command, "--out", here / "parts") == 130
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert train(here / "whole/config.json", "--out", here / "parts", "--resume") == 0
    assert train(here / "whole/config.json", "--out", here / "again") == 0
    weights = {(here / name / "weights.safetensors").read_bytes() for name in ("whole", "parts", "again")}
    assert len(weights) == 1
    assert main(["picture", "importance", str(here / "whole")]) == 0
    assert main(["picture", "mistakes", str(here / "whole")]) == 1
    assert "the data of this run are a table" in capsys.readouterr().err
    assert main(["curves", str(here / "whole"), str(here / "again")]) == 0


def test_sweeps_compare_accuracy_or_r2(here, capsys):
    flowers(here / "f.csv")
    houses(here / "h.csv")
    common = "epochs: 2\nhidden: [8]\n"
    (here / "f.yaml").write_text(f"dataset: table\npath: f.csv\nlabel: species\ndrop: [id]\n{common}")
    (here / "h.yaml").write_text(f"dataset: table\npath: h.csv\nlabel: price\ntask: regression\n{common}")
    options = ["--grid", "optimizer.lr=0.001,0.01", "--seeds", "0,1", "--jobs", "1"]
    assert main(["sweep", "f.yaml", *options]) == 0
    out = capsys.readouterr().out
    assert "f.csv: 2 points x 2 seeds, 10% of the training rows for validation" in out
    assert "best validation accuracy: optimizer.lr" in out
    assert main(["sweep", "h.yaml", *options]) == 0
    assert "best validation R2: optimizer.lr 0.01" in capsys.readouterr().out
    assert (here / "runs" / "sweep-h-1" / "bands.png").exists()
    assert main(["sweep", "f.yaml", "--grid", "label=colour"]) == 1
    assert "label cannot vary in a sweep" in capsys.readouterr().err


def test_row_numbers_of_pandas_are_left_out(here, capsys):
    write_rows(here / "p.csv", ["", "x", "y"], [[n, n * 3 % 7, "ab"[n % 2]] for n in range(30)])
    assert train("p.csv", "--label", "y", "--epochs", 1, "--out", "run") == 0
    assert (
        "note: a column without a name, or of row numbers as pandas writes them, is left out"
        in capsys.readouterr().err
    )
    assert [column["name"] for column in read(here / "run" / "data.json")["columns"]] == ["x"]


def test_a_test_file_is_read_with_the_text_columns_of_the_training_file(here):
    """Its cells may all be empty or numbers: they are text all the same."""
    rows = [[n, "ab"[n % 2], "12x"[n % 3]] for n in range(60)]
    write_rows(here / "a.csv", ["x", "colour", "y"], rows)
    write_rows(here / "b.csv", ["x", "colour", "y"], [[1, "", "1"], [2, "", "2"]])
    settings = TableSettings(path="a.csv", label="y", test="b.csv", missing="mean")
    loaded = own_data.load(settings)
    assert loaded.description.classes == ("1", "2", "x")
    assert loaded.test[1].tolist() == [0, 1]
    assert loaded.test[0].tolist() == [[1, 0, 0], [2, 0, 0]]
    write_rows(here / "numbers.csv", ["x", "y"], [[n, n % 2] for n in range(20)])
    write_rows(here / "endless.csv", ["x", "y"], [[1, 1], [1, "inf"]])
    with pytest.raises(fn.data.DatasetError, match="the label 'inf' in row 2 is no class"):
        own_data.load(TableSettings(path="numbers.csv", label="y", test="endless.csv"))


def test_labels_of_numbers_and_text_are_classes_with_a_note(here, capsys):
    write_rows(here / "m.csv", ["x", "y"], [[n, "12x"[n % 3]] for n in range(60)])
    own_data.load(TableSettings(path="m.csv", label="y"))
    assert "the label 'y' has numbers, but also 'x' in row 3: each text is a class" in capsys.readouterr().err


def test_grey_photographs_are_not_drawn_as_negatives():
    """`fn.viz` draws grey images as ink, large values dark, so a photograph would be a negative."""
    photos, ink = FolderSettings(path="p"), TableSettings(path="t.csv", image=(2, 2))
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert run_drawings.viewable(photos, images).shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(run_drawings.viewable(photos, images)[..., 1], images)
    assert run_drawings.viewable(ink, images) is images
