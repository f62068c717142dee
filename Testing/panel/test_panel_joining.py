"""Volumes that were loaded one slice each: recognised as belonging together, and joined by one press."""

import numpy as np
import pytest


def load_slices(phantom, array, matrix, names, order=None):
    """One volume for each slice of ``array``, added in this order, as Slicer's DICOM module names them."""
    nodes = []
    for number in order if order is not None else range(len(array)):
        one = np.array(matrix, dtype=float)
        one[:3, 3] += one[:3, 2] * number
        nodes.append(phantom.addVolume(array[number : number + 1], one, names.format(number + 1)))
    return nodes


@pytest.fixture
def shown(bench):
    bench.widget.parent.show()
    return bench


@pytest.mark.parametrize("matrix", ["plain", "oblique", "left-handed"])
def test_slices_are_joined_as_the_stack_was(shown, phantom, matrix):
    import slicer
    import vtk

    array = phantom.makeArray()
    matrices = {
        "plain": np.diag([1.5, 1.5, 8.0, 1.0]),
        "oblique": phantom.obliqueMatrix(),
        "left-handed": np.diag([1.5, 1.5, -8.0, 1.0]),
    }
    nodes = load_slices(phantom, array, matrices[matrix], "{0}: LGE_SAX_{0}", order=[3, 0, 5, 1, 4, 2])
    transform = phantom.addTransform()
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    shown.panel.findDevices()
    shown.host.process(0.05)
    assert shown.ui.joinPanel.isVisible()
    assert shown.ui.joinLabel.text() == "6 volumes of one slice each belong together."

    shown.press(shown.ui.joinButton)

    joined = shown.panel._parameters.inputVolume
    assert joined.GetName() == "LGE_SAX joined" and joined not in nodes
    assert joined.GetTransformNodeID() == transform.GetID()
    found = slicer.util.arrayFromVolume(joined)
    ijk_to_ras = vtk.vtkMatrix4x4()
    joined.GetIJKToRASMatrix(ijk_to_ras)
    origin, step = matrices[matrix][:3, 3], matrices[matrix][:3, 2]
    for k in range(6):  # along either direction of the axis
        place = np.array(ijk_to_ras.MultiplyPoint((0, 0, k, 1)))[:3]
        number = round(float((place - origin) @ step / (step @ step)))
        np.testing.assert_allclose(place, origin + number * step, atol=1e-6)
        np.testing.assert_array_equal(found[k], array[number])
    assert not shown.ui.joinPanel.isVisible()  # done
    assert all(slicer.mrmlScene.IsNodePresent(node) for node in nodes)

    node = shown.runFromPanel().segmentationNode
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LV", joined)
    assert np.count_nonzero(mask) == np.count_nonzero(array == phantom.GREY["LV"])


def test_slices_loaded_while_the_panel_is_open_are_noticed(shown, phantom):
    assert not shown.ui.joinPanel.isVisible()
    load_slices(phantom, phantom.makeArray(), np.diag([1.5, 1.5, 8.0, 1.0]), "LGE {}")
    shown.run(shown.ui.joinPanel.isVisible)
    import slicer

    slicer.mrmlScene.Clear(0)
    shown.run(lambda: not shown.ui.joinPanel.isVisible())


def test_a_missing_slice_is_said_and_nothing_is_joined(shown, phantom):
    load_slices(phantom, phantom.makeArray(), np.diag([1.5, 1.5, 8.0, 1.0]), "LGE {}", order=[0, 1, 2, 4, 5])
    shown.run(shown.ui.joinPanel.isVisible)
    assert "a slice between them is missing" in shown.ui.joinLabel.text()
    assert not shown.ui.joinButton.isVisible()


def test_what_does_not_belong_together_is_left_alone(shown, phantom):
    array = phantom.makeArray()
    plain = np.diag([1.5, 1.5, 8.0, 1.0])
    load_slices(phantom, array, plain, "LGE {}", order=[0])
    load_slices(phantom, array, plain, "T2 {}", order=[1])  # another description
    load_slices(phantom, array[:, :30], plain, "LGE {}", order=[2])  # another size
    load_slices(phantom, array, np.diag([1.2, 1.2, 8.0, 1.0]), "LGE {}", order=[3])  # other pixels
    load_slices(phantom, array, phantom.obliqueMatrix(), "LGE {}", order=[4])  # another direction
    phantom.addVolume(array, name="LGE 7")  # a whole stack
    shown.host.process(0.1)
    assert not shown.ui.joinPanel.isVisible()
