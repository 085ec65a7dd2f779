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
        ("train digts", "unknown 'digts': did you mean digits?"),
        ("trian digits", "unknown 'trian': did you mean train?"),
        ("train", "missing dataset: choose one of digits,mnist,fashion-mnist,emnist-balanced,"),
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
