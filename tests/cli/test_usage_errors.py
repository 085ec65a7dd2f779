"""Usage errors of the command line, and the spelling of its options."""

import re

import pytest

from fastnn.cli.main import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train digits --bach-size 3", "unknown option --bach-size: did you mean --batch-size?"),
        ("train digits --bach_size=3", "unknown option --bach-size: did you mean --batch-size?"),
        ("train digits --lr 0.1", "unknown option --lr: did you mean --optimizer.lr?"),
        (
            "train digits --weight-decay 0.1",
            "unknown option --weight-decay: did you mean --optimizer.weight-decay?",
        ),
        ("train digits --colour red", "unknown option --colour"),
        ("train digits --optimizer.sped 1", "unknown option --optimizer.sped"),
        (
            "train digits --optimizer adam --optimizer.momentum 0.9",
            "--optimizer.momentum is an option of another optimizer",
        ),
        ("train digits --optimizer.lr x", "--optimizer.lr must be a number, not 'x'"),
        ("train digits --epochs many", "--epochs must be an integer, not 'many'"),
        ("train digits --dropout x", "--dropout must be a number, not 'x'"),
        (
            "train digits --layers abc",
            "--layers: sizes must be integers separated by commas, such as",
        ),
        ("train digits --model resnet", "--model: unknown 'resnet': choose one of mlp, cnn"),
        (
            "train digits --epochs 0",
            "fastnn train digits: error: epochs must be an integer of at",
        ),
        ("train --model", "fastnn train: error: --model: expected one argument"),
        (
            "train digits --optimizer admm",
            "unknown optimizer 'admm': choose one of SGD, Adam, AdamW, RMSprop",
        ),
        (
            "train digits --optimizer no_such.X",
            "--optimizer: cannot import no_such.X: No module named",
        ),
        (
            "train digits --optimizer fastnn.X",
            "--optimizer: cannot import fastnn.X: module",
        ),
        ("train digits --optimizer os.system", "--optimizer: os.system is no subclass of fastnn.Optimizer"),
        ("train digits --find-lr --watch", "--find-lr trains nothing: leave out --watch"),
        ("train digits --find-lr --port 80 --out x", "--find-lr trains nothing: leave out --port"),
        (
            "train digits --find-lr --overwrite --resume",
            "--find-lr trains nothing: leave out --overwrite, --resume",
        ),
        ("train digts", "unknown 'digts': did you mean digits?"),
        ("trian digits", "unknown 'trian': did you mean train?"),
        ("train", "missing dataset: choose one of digits, mnist, fashion-mnist, emnist-balanced, "),
        ("picture", "missing kind, run"),
        ("profile --batchsize 3", "unknown option --batchsize: did you mean --batch-size?"),
        ("profile --threads x", "--threads must be an integer, not 'x'"),
        ("sweep --gird a=1", "unknown option --gird: did you mean --grid?"),
        ("probe --threads many", "--threads must be an integer of at least 1"),
    ],
)
def test_a_usage_error_takes_two_lines_and_names_the_nearest(capsys, words, message):
    with pytest.raises(SystemExit) as exit_:
        main(words.split())
    assert exit_.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert message in first
    assert second.endswith("--help lists what is accepted")


def test_help_spells_options_with_dashes(capsys):
    for command in ("train digits", "sweep", "profile"):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        options = re.findall(r"--[\w.-]+", capsys.readouterr().out)
        assert options
        assert not [option for option in options if "_" in option]


COMMANDS = ["", "train", "train digits", "complexity", "sweep", "compare", "curves", "picture", "profile"]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("command", [*COMMANDS, "board", "reproduce", "report", "probe", "config"])
def test_help_fits_the_terminal_and_has_no_types_of_python(capsys, monkeypatch, command, width):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    usage, _, rest = text.partition("\n")
    assert usage.startswith(f"usage: fastnn {command}".strip())
    assert usage.endswith("[options]")
    words = " ".join(rest.split())
    for odd in (
        "<class",
        "| null",
        "default: None",
        "default: null",
        "default: False",
        "(required)",
        "type:",
    ):
        assert odd not in words
    if width >= 80:
        assert max(map(len, rest.splitlines())) < width


def test_help_shows_defaults_as_they_are_written(capsys):
    with pytest.raises(SystemExit):
        main(["train", "digits", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "Example: 784,128,10 (default: 64,64,32,10).",
        "(default: SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)).",
        "--epochs N Number of passes over the training set (default: 30).",
        "--out PATH Folder to write to. Default: a new folder in runs/. --overwrite Replace",
    ):
        assert words in text


def test_help_of_own_data_says_what_lists_hold_and_hides_empty_defaults(capsys):
    texts = []
    for kind in ("table", "folder"):
        with pytest.raises(SystemExit):
            main(["train", kind, "--help"])
        texts.append(" ".join(capsys.readouterr().out.split()))
    for words in (
        "--hidden N,N,... Number of units",
        "--drop NAME,NAME,... Columns to leave out, such as Name,Ticket. ",
        "--categorical NAME,NAME,... Columns",
        "--image HEIGHTxWIDTH Height",
        "--label LABEL Name of the column to predict. ",
        "the loss is squared_error unless --loss",
        "and of the test split of your own data",
    ):
        assert words in texts[0]
    assert "--size HEIGHTxWIDTH Height" in texts[1]
    assert not [text for text in texts if "(default: )" in text or "ITEM" in text]
