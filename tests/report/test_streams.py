import io

import pytest

from ftcli.report.streams import BLOCKS, encodable, marks_for


def _stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_stream_without_the_rules_of_tables_gets_dashes_and_escapes(encoding):
    assert encodable("a ── b 大", _stream(encoding)) == "a -- b \\u5927"


def test_utf_8_keeps_everything_but_lone_surrogates():
    assert encodable("── 大 é \udcff", _stream("utf-8")) == "── 大 é \\udcff"


def test_sparklines_need_utf_8_and_leave_to_use_it():
    utf8, latin = _stream("UTF-8"), _stream("latin-1")
    assert marks_for(utf8, {}) == BLOCKS
    assert marks_for(utf8, {"NO_COLOR": ""}) == BLOCKS, "only a value that is not empty counts"
    assert marks_for(utf8, {"NO_COLOR": "1"}) == ""
    assert marks_for(latin, {}) == ""
