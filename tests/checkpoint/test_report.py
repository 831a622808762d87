from det2lite.checkpoint.report import format_report, group_names, mismatch_error


def test_neighbouring_modules_share_a_row():
    names = ["heads.box.cls.weight", "heads.box.cls.bias", "heads.fc.weight", "top"]
    assert group_names(names) == {
        "heads.box.{cls.bias, cls.weight}": names[:2],
        "heads.fc.weight": ["heads.fc.weight"],
        "top": ["top"],
    }
    assert group_names([]) == {}


def test_many_rows_are_merged_by_the_module_above():
    names = [f"net.res{stage}.{block}.conv.weight" for stage in (2, 3) for block in range(9)]
    assert list(group_names(names)) == ["net.res2.* (9 tensors)", "net.res3.* (9 tensors)"]
    assert list(group_names(names, max_rows=1)) == ["net.* (18 tensors)"]
    assert list(group_names([f"m{i}.a.weight" for i in range(20)])) == ["* (20 tensors)"]


def test_table_shows_both_shapes_and_the_remedy():
    text = format_report(
        "x.pth",
        missing=["heads.a.bias", "heads.a.weight"],
        unexpected=["old.weight"],
        wrong_shape=[("cls.weight", (81, 4), (5, 4))],
        checkpoint_shapes={"old.weight": (7,)},
        model_shapes={"heads.a.bias": (2,), "heads.a.weight": (2, 3)},
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "other shape cls.weight [81, 4] [5, 4]" in lines
    assert "missing heads.{a.bias, a.weight} [2], [2, 3]" in lines
    assert "unexpected old.weight [7]" in lines
    assert "x.pth" in lines[0] and "fine-tuning" in lines[-1]


def test_error_is_one_line_with_examples():
    text = str(mismatch_error("x.pth", missing=["a", "b"], unexpected=[], wrong_shape=[("c", (1,), (2,))]))
    assert "1 of another shape (e.g. c), 2 missing (e.g. a);" in text and "unexpected" not in text
    assert "x.pth" in text and "\n" not in text


def test_table_stays_short_for_a_wholly_other_model():
    names = [f"net.res{stage}.{block}.conv.weight" for stage in range(9) for block in range(30)]
    text = format_report(
        "x.pth",
        missing=names,
        unexpected=[f"old.{name}" for name in names],
        wrong_shape=[(f"x.{name}", (1,), (2,)) for name in names],
        checkpoint_shapes={},
        model_shapes={},
    )
    assert len(text.splitlines()) == 1 + 2 + 3 * 9 + 1
