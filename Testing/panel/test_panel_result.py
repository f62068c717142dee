"""What is said beside the numbers, and whose colours the segments have."""

import json

import pytest

from confuda.labels import STRUCTURES


def test_the_mass_carries_the_ratio_of_the_model_card(bench, phantom, tmp_path):
    scores = {"ACDC": {"none": {"dice": 0.9, "muscle_ratio": 1.29}}, "LGE": {"none": {"dice": 0.8}}}
    (tmp_path / "bundle.json").write_text(json.dumps({"scores": scores}), encoding="utf-8")
    phantom.addVolume()
    bench.ui.bundlePath.currentPath = str(tmp_path)

    table = bench.runFromPanel().tableNode

    assert bench.ui.caveatLabel.isVisible()
    assert "ACDC 1.29" in bench.ui.caveatLabel.text() and "LGE" not in bench.ui.caveatLabel.text()
    # It goes where the table goes.
    assert "ACDC 1.29" in table.GetColumnDescription("Mass [g]")


def test_a_bundle_without_a_model_card_says_that_it_was_not_measured(bench, phantom, tmp_path):
    (tmp_path / "bundle.json").write_text("{}", encoding="utf-8")
    phantom.addVolume()
    bench.ui.bundlePath.currentPath = str(tmp_path)
    bench.runFromPanel()
    assert "not measured" in bench.ui.caveatLabel.text()


def test_the_panel_says_how_strongly_was_adapted_and_why(bench, phantom):
    phantom.addVolume()
    bench.runFromPanel()
    assert "Adapted at 100% of the full strength, since it was asked for." in bench.ui.statusLabel.text()


def colors_of(node):
    return {
        s.name: tuple(round(255 * c) for c in node.GetSegmentation().GetSegment(s.name).GetColor()) for s in STRUCTURES
    }


@pytest.fixture
def users_list(bench, tmp_path):
    """A terminology of the user's with a left ventricle in pink, loaded into Slicer."""
    import slicer

    kind = {"CodingSchemeDesignator": "SCT", "CodeValue": "87878005", "CodeMeaning": "Left ventricle"}
    category = {"CodingSchemeDesignator": "SCT", "CodeValue": "123037004", "CodeMeaning": "Anatomical Structure"}
    entry = {**category, "showAnatomy": False, "Type": [{**kind, "recommendedDisplayRGBValue": [255, 20, 147]}]}
    path = tmp_path / "mine.term.json"
    path.write_text(
        json.dumps(
            {
                "SegmentationCategoryTypeContextName": "My list",
                "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/segment-context-schema.json#",
                "SegmentationCodes": {"Category": [entry]},
            }
        ),
        encoding="utf-8",
    )
    assert slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(path))


def test_one_click_gives_the_users_own_terminology_colours_and_back(bench, phantom, users_list):
    phantom.addVolume()
    node = bench.runFromPanel().segmentationNode
    ours = {structure.name: structure.color for structure in STRUCTURES}
    assert colors_of(node) == ours and not bench.ui.colorsButton.isChecked()

    bench.press(bench.ui.colorsButton)
    assert colors_of(node) == {**ours, "LV": (255, 20, 147)}  # what no list knows keeps its colour
    for structure in STRUCTURES:
        assert structure.code in node.GetSegmentation().GetSegment(structure.name).GetTerminology()
    bench.panel._refresh()
    assert bench.ui.colorsButton.isChecked()

    bench.press(bench.ui.colorsButton)
    assert colors_of(node) == ours
