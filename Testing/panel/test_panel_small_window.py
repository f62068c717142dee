"""A small window: what matters during a run and after it is seen without scrolling; Tab goes from top to bottom."""

import pytest

HEIGHT = 340  # what a window of 1085 x 570 leaves below Slicer's toolbars, its logo and the module's header
WIDTH = 380


@pytest.fixture
def small(bench):
    """The panel inside a scroll area of that size, as Slicer's module panel is one."""
    from PySide6 import QtWidgets

    area = QtWidgets.QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(bench.widget.parent)
    area.setFixedSize(WIDTH, HEIGHT)
    area.show()
    bench.area = area
    bench.host.process(0.05)
    yield bench
    area.takeWidget()
    area.close()


def is_seen(bench, widget):
    """Whether all of the widget lies within the scroll area's window."""
    from PySide6 import QtCore

    bench.host.process(0.05)
    top = widget.mapTo(bench.area.viewport(), QtCore.QPoint(0, 0)).y()
    return widget.isVisible() and top >= 0 and top + widget.height() <= bench.area.viewport().height()


def test_the_panel_is_no_wider_than_the_window_gives(small, phantom):
    phantom.addVolume(name="A volume with a long name, as DICOM files give them")
    small.ui.wallCheck.setChecked(True)
    small.runFromPanel()
    small.ui.tableCombo.setCurrentIndex(1)  # the wall, with its bull's eye
    for part in (small.ui.inputsButton, small.ui.advancedButton, small.ui.detailsButton):
        part.setProperty("collapsed", False)
    small.host.process(0.05)
    widths = {name: widget.minimumSizeHint().width() for name, widget in vars(small.ui).items()}
    assert small.area.horizontalScrollBar().maximum() == 0, sorted(widths.items(), key=lambda item: -item[1])[:12]


def test_the_button_is_seen_before_a_run(small, phantom):
    phantom.addVolume()
    assert bench_is_at_top(small)
    assert is_seen(small, small.ui.applyButton)


def bench_is_at_top(bench):
    return bench.area.verticalScrollBar().value() == 0


def test_button_progress_and_former_result_are_seen_while_a_job_runs(small, phantom):
    phantom.addVolume()
    small.runFromPanel()
    small.worker = "slow"
    small.ui.advancedButton.setProperty("collapsed", False)
    small.ui.inputsButton.setProperty("collapsed", False)
    small.press(small.ui.applyButton)
    job = small.logic.job
    small.run(lambda: job.progress is not None and job.progress.step > 3)

    assert bench_is_at_top(small)
    for widget in (small.ui.applyButton, small.ui.progressBar, small.ui.stageLabel, small.ui.timeLabel):
        assert is_seen(small, widget), widget.objectName()
    assert small.ui.inputsButton.property("collapsed") and small.ui.advancedButton.property("collapsed")
    job.cancel()
    small.run(lambda: not job.isRunning)


def test_the_result_is_seen_after_a_run(small, phantom):
    phantom.addVolume(name="Short axis")
    small.runFromPanel()

    assert bench_is_at_top(small)
    for widget in (small.ui.applyButton, small.ui.statusLabel, small.ui.resultsTable):
        assert is_seen(small, widget), widget.objectName()
    assert small.ui.inputsButton.property("text") == "Volume: Short axis"  # folded, it says what was segmented
    assert small.ui.resultsButton.property("text") == "Results: Short axis ConFUDA"
    small.ui.inputsButton.setProperty("collapsed", False)
    small.host.process(0.05)
    assert small.ui.inputsButton.property("text") == "Volume and result"
    assert small.ui.presetCombo.isVisible() and not small.ui.severalList.isVisible()


def test_inputs_come_back_after_a_failure_and_a_cancel(small, phantom):
    phantom.addVolume()
    for worker in ("crash", "slow"):
        small.worker = worker
        small.press(small.ui.applyButton)
        job = small.logic.job
        small.run(lambda job=job: job.progress is not None and job.progress.step > 1 or not job.isRunning)
        job.cancel()
        small.run(lambda job=job: not job.isRunning)
        assert not small.ui.inputsButton.property("collapsed")
        assert small.ui.advancedButton.property("collapsed")
        assert small.ui.statusLabel.isVisible()


def test_a_failure_is_scrolled_into_sight(small, phantom, monkeypatch):
    import subprocess

    from ConFUDASegmentLib import installing

    def fail(requirement):
        print("NewConnectionError")
        raise subprocess.CalledProcessError(1, ["pip"])

    small.panel._dependencies = installing.Dependencies(
        isPresent=lambda name: name != "torch", installTorch=lambda: fail("")
    )
    phantom.addVolume()
    small.widget.enter()
    small.press(small.ui.applyButton)
    small.host.process(0.1)
    assert "does not reach the internet" in small.ui.statusLabel.text()
    assert is_seen(small, small.ui.statusLabel)


def walk_with_tab(bench):
    """The named controls in the order in which the Tab key reaches them."""
    from PySide6 import QtCore, QtWidgets

    bench.host.process(0.05)
    names = {id(widget): name for name, widget in vars(bench.ui).items() if isinstance(widget, QtWidgets.QWidget)}
    first = bench.widget.parent
    reached, widget = [], first.nextInFocusChain()
    while widget is not first:
        takes_tab = bool(widget.focusPolicy().value & QtCore.Qt.FocusPolicy.TabFocus.value)
        if takes_tab and widget.isEnabled() and widget.isVisible():
            owner = widget
            while owner is not None and id(owner) not in names:
                owner = owner.parentWidget()
            name = names.get(id(owner))
            if name is not None and name not in reached[-1:]:
                reached.append(name)
        widget = widget.nextInFocusChain()
    return reached


def test_tab_reaches_every_control_from_top_to_bottom(bench, phantom):
    from PySide6 import QtCore

    phantom.addVolume()
    bench.runFromPanel()
    for part in (bench.ui.inputsButton, bench.ui.advancedButton, bench.ui.detailsButton):
        part.setProperty("collapsed", False)
    bench.ui.modeCombo.setCurrentIndex(0)
    bench.ui.automaticSliceCheck.setChecked(False)
    bench.widget.parent.show()
    reached = walk_with_tab(bench)

    wanted = [
        *("inputSelector", "severalButton", "outputSelector", "modeCombo", "automaticSliceCheck", "sliceSlider"),
        *("currentSliceButton", "presetCombo", "applyButton", "resultsTable", "show3DButton", "colorsButton"),
        *("deviceCombo", "methodCombo", "contrastSpin", "normSpin", "partitionsSpin", "temperatureSpin", "seedSpin"),
        *("bundlePath", "previewCheck", "uncertaintyCheck", "detailsText", "copyButton"),
    ]
    assert [name for name in reached if name in wanted] == wanted
    tops = [getattr(bench.ui, name).mapTo(bench.widget.parent, QtCore.QPoint(0, 0)).y() for name in wanted]
    assert all(lower >= upper - 8 for upper, lower in zip(tops, tops[1:])), list(zip(wanted, tops))


def test_no_two_controls_share_a_key(bench):
    keys = []
    for widget in vars(bench.ui).values():
        text = widget.text() if callable(getattr(widget, "text", None)) else ""
        if isinstance(text, str) and "&" in text.replace("&&", ""):
            plain = text.replace("&&", "")
            keys.append(plain[plain.index("&") + 1].lower())
    assert len(keys) > 15 and len(set(keys)) == len(keys), sorted(keys)
