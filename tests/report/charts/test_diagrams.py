from ftcli.report.charts.diagrams import draw_confusion


def test_a_large_confusion_matrix_has_a_cell_for_every_pair_with_images():
    picture = draw_confusion([[3, 0, 1], [0, 4, 0], [0, 0, 0]], 300)
    assert sorted(each.get("class") for each in picture.iter("rect")) == ["frame", "hit", "hit", "miss"]
    assert "7 of 8 images" in picture.get("aria-label")
