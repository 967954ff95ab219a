import pytest

from kfp_ratchet.components.shared.log import last_line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("one\n\n  two  \n\n", "two"),
        ("\x1b[95mValueError\x1b[0m: no\n", "ValueError: no"),
        ("ValueError: no\n<sys>:0: ResourceWarning: unclosed file\n", "ValueError: no"),
        ("<sys>:0: ResourceWarning: unclosed file\n", "<sys>:0: ResourceWarning: unclosed file"),
    ],
)
def test_the_last_line_says_why_a_process_ended(text, told):
    assert last_line(text) == told
