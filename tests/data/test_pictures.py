import numpy as np

from det2lite.data.overview import draw_overview, label_statistics
from det2lite.data.pictures import GAP, TITLE_HEIGHT, Picture, beside, contact_sheet, free_path
from det2lite.structures import BoxMode


def plain(height, width, value=100):
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_beside():
    row = beside([plain(10, 20, 1), plain(6, 5, 2)])
    assert row.shape == (10, 20 + GAP + 5, 3)
    assert (row[:, :20] == 1).all() and (row[:6, -5:] == 2).all()
    assert (row[6:, -5:] == 255).all() and (row[:, 20:-5] == 255).all()
    assert beside([plain(1, 1)]).shape == (1, 1, 3)


def test_contact_sheet():
    pictures = [Picture(f"图 {i}", plain(40, 60)) for i in range(5)] + [Picture("wide", plain(20, 200))]
    sheet = contact_sheet(pictures, columns=3, cell=100)
    # two rows: pictures smaller than a cell stay, wider ones shrink to it
    assert sheet.shape == (2 * (GAP + TITLE_HEIGHT + 40), 3 * (100 + GAP) + GAP, 3)
    first = sheet[GAP + TITLE_HEIGHT :, GAP:]
    assert (first[:40, :60] == 100).all() and (first[:40, 60:100] == 255).all()
    last = sheet[2 * GAP + 2 * TITLE_HEIGHT + 40 :, GAP + 2 * (100 + GAP) :]
    assert (last[:10, :100] == 100).all() and (last[10:, :100] == 255).all()
    assert contact_sheet(pictures[:1]).shape == (GAP + TITLE_HEIGHT + 40, 60 + 2 * GAP, 3)
    assert contact_sheet([Picture("", plain(1, 1))]).shape == (GAP + TITLE_HEIGHT + 1, 1 + 2 * GAP, 3)


def test_names_do_not_leave_the_folder():
    taken = {}
    names = [free_path("out", name, taken) for name in ("7", "7", "../a")]
    assert names == ["out/7.jpg", "out/7_2.jpg", "out/.._a.jpg"]


def test_statistics_of_labels():
    def box(x, y, w, h, label, **more):
        return {"bbox": [x, y, w, h], "bbox_mode": BoxMode.XYWH_ABS, "category_id": label, **more}

    samples = [
        {"width": 100, "height": 50, "annotations": [box(10, 5, 20, 40, 1), box(0, 0, 9, 9, 0, iscrowd=1)]},
        {"width": 10, "height": 10, "annotations": [box(0, 0, 10, 5, 1), box(1, 1, 1, 1, 0)]},
        {"width": 10, "height": 10, "annotations": []},
    ]
    statistics = label_statistics(samples, ["a", "b", "c"])
    assert statistics.class_counts == [("b", 2), ("a", 1), ("c", 0)]
    assert statistics.per_image.tolist() == [1, 2, 0]
    assert statistics.boxes.tolist() == [[0.1, 0.1, 0.3, 0.9], [0, 0, 1, 0.5], [0.1, 0.1, 0.2, 0.2]]
    assert statistics.sides.tolist() == [[20, 40], [10, 5], [1, 1]]
    titles = [part.get_title() for part in draw_overview(statistics, "data").axes[:4]]
    assert titles == ["objects of each class", "box sizes", "centres of boxes", "objects in an image"]


def test_overview_of_nothing_and_of_many_classes():
    figure = draw_overview(label_statistics([], []), "none")
    assert "0 objects in 0 images" in figure.get_suptitle()
    figure.canvas.draw()
    figure = draw_overview(label_statistics([{"width": 4, "height": 4}], [f"c{i}" for i in range(1203)]), "lvis")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()][-1] == "1164 others"
