"""Text of others does nothing where it is shown: in a line of Markdown, as code, on a terminal."""

import pytest

from hf_dd.core.text import Markdown, code, markdown, plural, verbatim
from hf_dd.errors import HfDdError, first_line, one_line, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain_name-1 (x)", "plain_name-1 (x)"),
        ("_my_data_", r"\_my_data\_"),
        ("__init__ données_é", r"\_\_init\_\_ données_é"),
        ("~~x~~", r"\~\~x\~\~"),
        ("&lt;b&gt; &#60; R&D & co", r"\&lt;b\&gt; \&#60; R&D & co"),
        ("a|b", r"a\|b"),
        ("<script>", r"\<script\>"),
        ("`rm`", r"\`rm\`"),
        ("[x](http://y)", r"[x\](http://y)"),
        ("a\\", "a\\\\"),
        ("a\n---\nb", "a --- b"),
        ("\x1b[2J\u202e", "\\\\x1b[2J\\\\u202e"),
        (5, "5"),
        (Markdown("`x` | **y**"), "`x` | **y**"),
    ],
)
def test_a_value_in_markdown(text, shown):
    assert markdown(text) == shown


def test_code_and_blocks_of_code():
    assert code("a`b|c\nd") == "`a'b\\|c d`" and code("x") is not None
    assert verbatim("echo ```\nrm") == "echo ''' rm"
    assert all(isinstance(each("a"), Markdown) for each in (code, verbatim))


@pytest.mark.parametrize("say", [one_line, first_line])
def test_an_error_is_one_line_or_its_kind_where_it_says_nothing(say):
    assert [say(error) for error in (ValueError(), AssertionError("  \n"))] == ["ValueError", "AssertionError"]
    assert say(OSError("\n no space ")) == "no space"
    assert say(OSError("a\nb")) == {one_line: "a b", first_line: "a"}[say]
    assert one_line(OSError("a" * 500)) == "a" * 400 and one_line(OSError("abc"), 2) == "ab"


def test_one_and_several():
    assert [plural(*each) for each in ((1, "class"), (2, "class"), ("60,000", "image"), ("1", "minute"))] == [
        *("1 class", "2 classes", "60,000 images", "1 minute")
    ]


def test_text_on_a_terminal_is_spelt_out():
    assert plain("née 100 %") == "née 100 %"
    assert plain("a\x1b[31mb\x07\x9bc") == "a\\x1b[31mb\\x07\\x9bc"
    assert plain("a\nb") == "a b" and plain("a\n\tb", lines=True) == "a\n\tb"
    assert plain("\ud800") == "\\ud800" and plain("\u202e") == "\\u202e"
    assert str(HfDdError("teacher \x1b]0;x\x07\nsecond line")) == "teacher \\x1b]0;x\\x07 second line"
