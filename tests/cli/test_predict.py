"""`fastnn predict` and `fastnn evaluate`: new data for the networks of finished runs."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

import fastnn as fn
from fastnn.cli.main import main
from tests.cli.own_files import digit_files, flowers, houses, pictures, write_rows


def table(text):
    return list(csv.reader(io.StringIO(text)))


def finished(tmp_path_factory, make, name, *options):
    folder = tmp_path_factory.mktemp("run")
    made = make(folder / name)
    assert main(["train", str(made), *options, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def plants(tmp_path_factory):
    options = ["--label", "species", "--drop", "id", "--epochs", "10"]
    return finished(tmp_path_factory, lambda path: flowers(path, 200), "f.csv", *options)


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    options = ["--label", "price", "--task", "regression", "--epochs", "60"]
    return finished(tmp_path_factory, houses, "h.csv", *options)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return finished(tmp_path_factory, pictures, "photos", "--epochs", "8", "--size", "12x16")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A run of a named data set."""
    folder = tmp_path_factory.mktemp("digits")
    assert main(["train", "digits", "--epochs", "10", "--out", str(folder / "run")]) == 0
    return folder


def test_columns_are_found_by_name_in_any_order(plants, tmp_path, capsys):
    """Extra columns are named in a note; the labels in the file give the accuracy."""
    rows = table((plants / "f.csv").read_text())
    shuffled = [[row[4], "x", row[3], row[2], row[0], row[1]] for row in rows]
    shuffled[0][1] = "remark"
    write_rows(tmp_path / "new.csv", shuffled[0], shuffled[1:])
    assert main(["predict", str(plants / "run"), str(plants / "f.csv")]) == 0
    expected = capsys.readouterr()
    assert main(["predict", str(plants / "run"), str(tmp_path / "new.csv")]) == 0
    found = capsys.readouterr()
    assert found.out == expected.out
    assert "note: 2 columns of " in found.err
    assert "not used: remark, id" in found.err
    assert table(found.out)[0] == ["row", "species"]
    predicted = [row[1] for row in table(found.out)[1:]]
    right = sum(a == row[4] for a, row in zip(predicted, rows[1:], strict=True))
    assert f"accuracy {right / 200:.4f}: {right} of 200 correct" in found.err
    assert right > 150


def test_predictions_carry_ids_and_probabilities(plants, tmp_path, capsys):
    out = tmp_path / "p.csv"
    command = ["predict", str(plants / "run"), str(plants / "f.csv"), "--out", str(out), "--id", "id"]
    assert main([*command, "--probabilities"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"200 predictions written to {out}\naccuracy ")
    header, *rows = table(out.read_text())
    assert header == ["id", "species", "p(rose)", "p(small)", "p(tulip)"]
    assert [row[0] for row in rows] == [f"{n:03}" for n in range(200)]  # as in the file, with their zeros
    for _, species, *fractions in rows:
        assert sum(map(float, fractions)) == pytest.approx(1, abs=1e-5)
        assert species == ("rose", "small", "tulip")[np.argmax(list(map(float, fractions)))]
    assert main(["predict", str(plants / "run"), str(plants / "f.csv"), "--id", "ids"]) == 1
    assert "has no column 'ids' for --id: did you mean 'id'?" in capsys.readouterr().err


def test_ids_may_be_a_column_that_the_network_takes(plants, prices, capsys):
    """They have the spelling of the file."""
    for folder, name, column in ((plants, "f.csv", "weight"), (prices, "h.csv", "price")):
        main(["predict", str(folder / "run"), str(folder / name)])
        expected = [row[1] for row in table(capsys.readouterr().out)]
        assert main(["predict", str(folder / "run"), str(folder / name), "--id", column]) == 0
        found = capsys.readouterr()
        assert "not used: price" not in found.err
        header, *rows = table((folder / name).read_text())
        place = header.index(column)
        assert [row[0] for row in table(found.out)] == [column, *(row[place] for row in rows)]
        assert [row[1] for row in table(found.out)] == expected


def test_a_row_alone_has_the_prediction_that_it_has_among_others(plants, tmp_path, capsys):
    rows = table((plants / "f.csv").read_text())
    main(["predict", str(plants / "run"), str(plants / "f.csv"), "--probabilities"])
    among = table(capsys.readouterr().out)
    for number in (1, 50):
        write_rows(tmp_path / "one.csv", rows[0][:4], [rows[number][:4]])  # without the label
        assert main(["predict", str(plants / "run"), str(tmp_path / "one.csv"), "--probabilities"]) == 0
        assert table(capsys.readouterr().out)[1][1:] == among[number][1:]


def test_unknown_categories_count_as_missing_with_a_note(plants, tmp_path, capsys):
    rows = [[1.5, 1e6, "violet"], [9, 1e6, "red"], [2, 1e6, "violet"]]
    write_rows(tmp_path / "new.csv", ["length", "weight", "colour"], rows)
    assert main(["predict", str(plants / "run"), str(tmp_path / "new.csv")]) == 0
    found = capsys.readouterr()
    assert (
        "column 'colour' has categories that the training data lacked ('violet') in 2 rows: they count as "
        "missing" in found.err
    )
    assert len(table(found.out)) == 4
    write_rows(tmp_path / "one.csv", ["length", "weight", "colour"], rows[:1])  # no known category at all
    assert main(["predict", str(plants / "run"), str(tmp_path / "one.csv")]) == 0
    assert table(capsys.readouterr().out)[1] == table(found.out)[1]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["lenght", "weight", "colour"], [1, 1, "red"], "has no column 'length': did you mean 'lenght'?"),
        (
            ["length", "weight", "colour"],
            ["long", 1, "red"],
            "must have numbers, as in the training, but has",
        ),
        (["length", "weight", "colour"], ["", 1, "red"], "column 'length' has no value in row 1"),
        (["length", "weight", "colour"], [1, 1, ""], "column 'colour' has no value in row 1"),
        (["length", "weight", "colour"], ["inf", 1, "red"], "column 'length' is infinite in row 1"),
        (["length", "weight", "colour"], [1e300, 1, "red"], "row 1 are not finite"),
    ],
)
def test_rows_that_do_not_fit_are_refused(plants, tmp_path, capsys, header, row, message):
    write_rows(tmp_path / "new.csv", header, [row])
    assert (
        main(["predict", str(plants / "run"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "p")]) == 1
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_unknown_labels_give_predictions_without_a_score(plants, tmp_path, capsys):
    write_rows(tmp_path / "n.csv", ["length", "weight", "colour", "species"], [[1, 1e6, "red", "oak"]])
    assert main(["predict", str(plants / "run"), str(tmp_path / "n.csv")]) == 0
    assert "note: no score: " in (err := capsys.readouterr().err)
    assert "the label 'oak' in row 1 is no class" in err
    assert "accuracy" not in err


def test_regression_predicts_in_the_units_of_the_label(prices, tmp_path, capsys):
    write_rows(tmp_path / "new.csv", ["city", "area"], [["Oslo", 100], ["Rome", 100]])
    assert main(["predict", str(prices / "run"), str(tmp_path / "new.csv")]) == 0
    header, *rows = table(capsys.readouterr().out)
    assert header == ["row", "price"]
    assert [float(row[1]) for row in rows] == pytest.approx([300_000, 350_000], rel=0.15)
    assert (
        main(["predict", str(prices / "run"), str(prices / "h.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    )
    words = capsys.readouterr().out.split()
    assert float(words[words.index("R2") + 1].strip(",")) > 0.95
    assert main(["predict", str(prices / "run"), str(prices / "h.csv"), "--probabilities"]) == 1
    assert "--probabilities is for classification" in capsys.readouterr().err


def test_a_folder_or_a_single_picture_is_predicted(photos, tmp_path, capsys):
    assert main(["predict", str(photos / "run"), str(photos / "photos")]) == 0
    found = capsys.readouterr()
    rows = table(found.out)
    assert rows[0] == ["file", "class"]
    assert rows[1] == ["blue one/0.png", "blue one"]
    assert "accuracy 1.0000: 24 of 24 correct" in found.err
    Image.new("RGB", (100, 50), (250, 30, 20)).save(tmp_path / "new.jpg")
    assert main(["predict", str(photos / "run"), str(tmp_path / "new.jpg"), "--probabilities"]) == 0
    header, row = table(capsys.readouterr().out)
    assert header == ["file", "class", "p(blue one)", "p(red one)"]
    assert row[:2] == ["new.jpg", "red one"]
    (tmp_path / "new.png").write_bytes(b"no picture")
    assert main(["predict", str(photos / "run"), str(tmp_path)]) == 1
    assert "new.png cannot be read" in capsys.readouterr().err
    assert main(["evaluate", str(photos / "run"), str(photos / "photos")]) == 0
    assert "red one" in capsys.readouterr().out


def test_arrays_and_pictures_are_predicted_by_runs_of_named_data(numbers, tmp_path, capsys):
    _, (x, y) = fn.data.digits()
    np.save(tmp_path / "x.npy", x)
    assert main(["predict", str(numbers / "run"), str(tmp_path / "x.npy")]) == 0
    predicted = [int(row[1]) for row in table(capsys.readouterr().out)[1:]]
    assert np.mean(predicted == y) > 0.8
    Image.fromarray((x[0] * 255).astype(np.uint8)).save(tmp_path / "one.png")
    assert main(["predict", str(numbers / "run"), str(tmp_path / "one.png")]) == 0
    assert table(capsys.readouterr().out)[1] == ["one.png", str(predicted[0])]
    assert main(["evaluate", str(numbers / "run")]) == 0
    assert f"{sum(predicted == y)} of 364 correct" in capsys.readouterr().out
    for array, message in (
        (x[:, :7], "has shape (364, 7, 8), but the network takes (N, 8, 8)"),
        (np.full_like(x, np.nan), "has NaN or inf in sample 0"),
        (np.array(["a"]), "is no NumPy array of numbers"),
    ):
        np.save(tmp_path / "x.npy", array)
        assert main(["predict", str(numbers / "run"), str(tmp_path / "x.npy")]) == 1
        assert message in capsys.readouterr().err


def test_an_array_of_objects_is_not_unpickled(numbers, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    assert main(["predict", str(numbers / "run"), str(tmp_path / "x.npy")]) == 1
    assert "is no NumPy array of numbers: Object arrays cannot be loaded" in capsys.readouterr().err


def test_the_digit_recognizer_of_kaggle(tmp_path, monkeypatch, capsys):
    """train.csv and test.csv as they are, and a submission with ImageId and Label."""
    monkeypatch.chdir(tmp_path)
    labels = digit_files(tmp_path, 400)
    command = "train train.csv --label label --image 8x8 --epochs 20 --out run"
    assert main(command.split()) == 0
    assert main(["predict", "run", "test.csv", "--out", "submission.csv", "--format", "kaggle"]) == 0
    header, *rows = table((tmp_path / "submission.csv").read_text())
    assert header == ["ImageId", "Label"]
    assert [row[0] for row in rows] == [str(n) for n in range(1, len(labels) + 1)]
    assert np.mean([int(row[1]) for row in rows] == labels) > 0.7
    capsys.readouterr()
    assert main(["predict", "run", "test.csv", "--format", "excel"]) == 1
    assert "unknown format 'excel': choose one of csv, kaggle" in capsys.readouterr().err
    assert main(["predict", "run", "test.csv", "--out", "nowhere/p.csv"]) == 1
    assert "there is no such folder: 'nowhere'" in capsys.readouterr().err


def test_hidden_pictures_are_skipped_as_in_the_training(photos, tmp_path, capsys):
    """macOS adds files such as ._0.png, which are no pictures."""
    root = tmp_path / ".hidden"  # names above the folder may start with a dot
    pictures(root, 2)
    (root / "red one" / "._0.png").write_bytes(b"attributes")
    (root / ".trash").mkdir()
    (root / ".trash" / "1.png").write_bytes(b"")
    assert main(["predict", str(photos / "run"), str(root)]) == 0
    assert len(table(capsys.readouterr().out)) == 5


def test_the_format_of_kaggle_takes_no_ids(plants, capsys):
    command = ["predict", str(plants / "run"), str(plants / "f.csv"), "--format", "kaggle", "--id", "id"]
    assert main(command) == 1
    assert "--format kaggle counts the rows, so it takes no --id" in capsys.readouterr().err


def test_the_kind_of_the_data_must_fit_the_run(plants, photos, tmp_path, capsys):
    assert main(["predict", str(plants / "run"), str(photos / "photos")]) == 1
    assert "trained on the columns of a table: pass a CSV file" in capsys.readouterr().err
    assert main(["predict", str(photos / "run"), str(plants / "f.csv")]) == 1
    assert "but the images of this run have 576 pixels" in capsys.readouterr().err
    assert main(["predict", str(tmp_path), str(plants / "f.csv")]) == 1
    assert "has no finished run" in capsys.readouterr().err
    assert main(["predict", str(plants / "run"), str(tmp_path / "none.csv")]) == 3
    assert "none.csv: no such file or folder" in capsys.readouterr().err
    write_rows(tmp_path / "n.csv", ["length", "weight", "colour"], [[1, 1, "red"]])
    assert main(["evaluate", str(plants / "run"), str(tmp_path / "n.csv")]) == 1
    assert "has no labels (column 'species')" in capsys.readouterr().err
