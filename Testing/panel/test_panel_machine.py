"""What the panel knows of the machine: packages, devices, time."""

import pytest


def missing(monkeypatch, names):
    """Makes these packages missing; the returned set can be emptied, as an installation does."""
    from ConFUDASegmentLib import installing

    gone = set(names)
    monkeypatch.setattr(installing, "_isPresent", lambda name: name not in gone)
    return gone


def with_installers(bench, gone, fails=None):
    from ConFUDASegmentLib import installing

    installed = []

    def install(name):
        print(f"Collecting {name}")
        if fails:
            print("ERROR: No space left on device")
            raise fails
        installed.append(name)
        gone.discard(name.split(">")[0])

    bench.panel._dependencies = installing.Dependencies(
        isPresent=lambda name: name not in gone, installTorch=lambda: install("torch"), installOther=install
    )
    return installed


def test_one_question_then_installs_then_runs(bench, phantom, monkeypatch):
    installed = with_installers(bench, missing(monkeypatch, ["torch", "safetensors"]))
    phantom.addVolume()

    job = bench.runFromPanel()

    assert len(bench.answers) == 1
    assert "torch" in bench.answers[0] and "GB" in bench.answers[0] and "safetensors" in bench.answers[0]
    assert installed == ["torch", "safetensors>=0.4"]
    assert job.state == "finished"


def test_user_says_no(bench, phantom, monkeypatch):
    installed = with_installers(bench, missing(monkeypatch, ["torch"]))
    bench.reply = False
    phantom.addVolume()
    bench.rememberScene()
    bench.press(bench.ui.applyButton)

    assert installed == [] and bench.logic.job is None
    assert "not installed: torch" in bench.ui.statusLabel.text()
    bench.assertSceneUnchanged()
    bench.assertNothingLeft()


def test_before_the_first_run_the_panel_says_what_is_missing(bench, phantom, monkeypatch):
    with_installers(bench, missing(monkeypatch, ["torch", "safetensors"]))
    phantom.addVolume()
    bench.widget.enter()
    assert "Not installed yet: torch, safetensors" in bench.ui.deviceNote.text()
    assert bench.ui.applyButton.isEnabled() and bench.answers == []
    bench.runFromPanel()
    assert "Not installed" not in bench.ui.deviceNote.text()


def test_an_old_torch_is_named_before_anything_is_done(bench, phantom, monkeypatch):
    from ConFUDASegmentLib import installing

    versions = {"torch": "1.13.1+cu117", "safetensors": "0.4.5", "SimpleITK": "2.4.0"}
    monkeypatch.setattr(installing, "_versionOf", lambda name: versions[name])
    bench.panel._dependencies = installing.Dependencies(isPresent=lambda name: True)
    phantom.addVolume()
    bench.rememberScene()
    bench.widget.enter()
    assert "PyTorch 1.13.1+cu117 is too old" in bench.ui.deviceNote.text()
    bench.press(bench.ui.applyButton)

    assert "PyTorch 1.13.1+cu117 is too old" in bench.ui.statusLabel.text()
    assert "PyTorch Util" in bench.ui.statusLabel.text()
    assert bench.answers == [] and bench.logic.job is None
    bench.assertSceneUnchanged()


@pytest.mark.parametrize(
    "way, says", [("no network", "does not reach the internet"), ("proxy", "the proxy of this network")]
)
def test_what_pip_says_without_a_way_out_becomes_one_sentence(bench, phantom, monkeypatch, way, says):
    from Testing.host.without_network import makeInstaller

    from ConFUDASegmentLib import installing

    missing(monkeypatch, ["safetensors"])
    bench.panel._dependencies = installing.Dependencies(
        isPresent=lambda name: name != "safetensors", installOther=makeInstaller(way)
    )
    phantom.addVolume()
    bench.rememberScene()
    bench.press(bench.ui.applyButton)

    assert says in bench.ui.statusLabel.text() and "HTTPS_PROXY" in bench.ui.statusLabel.text()
    assert "No matching distribution found" in bench.ui.detailsText.toPlainText()
    bench.assertSceneUnchanged()


@pytest.mark.parametrize(
    "line, says",
    [
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 Proxy Auth'))", "HTTPS_PROXY"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self signed')", "PIP_CERT"),
        ("[Errno 11001] getaddrinfo failed", "does not reach the internet"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: something else", "last lines of the installer"),
    ],
)
def test_each_reason_has_its_sentence(bench, line, says):
    from ConFUDASegmentLib.installing import _explain

    assert says in _explain("torch", line)


def test_failed_installation_shows_pips_last_lines(bench, phantom, monkeypatch):
    import subprocess

    gone = missing(monkeypatch, ["safetensors"])
    with_installers(bench, gone, subprocess.CalledProcessError(1, ["pip"]))
    phantom.addVolume()
    bench.rememberScene()
    bench.press(bench.ui.applyButton)

    assert "safetensors could not be installed: the disk is full" in bench.ui.statusLabel.text()
    assert "No space left on device" in bench.ui.detailsText.toPlainText()
    assert not bench.ui.detailsButton.property("collapsed")
    bench.assertSceneUnchanged()


def test_torch_without_its_extension(bench, phantom, monkeypatch):
    from ConFUDASegmentLib import installing

    gone = missing(monkeypatch, ["torch"])
    bench.panel._dependencies = installing.Dependencies(isPresent=lambda name: name not in gone)
    phantom.addVolume()
    bench.press(bench.ui.applyButton)

    assert "Install the PyTorch extension first" in bench.ui.statusLabel.text()


def test_slicer_packaging_where_it_exists_else_pip_install(bench, monkeypatch):
    import sys
    import types

    import slicer

    from ConFUDASegmentLib import installing

    calls = []
    monkeypatch.setattr(slicer.util, "pip_install", lambda requirement: calls.append(("pip_install", requirement)))
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    installing._installOther("safetensors>=0.4")
    packaging = types.ModuleType("slicer.packaging")
    packaging.pip_ensure = lambda requirement, **options: calls.append(("pip_ensure", requirement, options))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer, "packaging", packaging, raising=False)
    installing._installOther("safetensors>=0.4")
    assert calls[0] == ("pip_install", "safetensors>=0.4")
    assert calls[1] == ("pip_ensure", "safetensors>=0.4", {"prompt_install": False, "requester": "ConFUDA"})


def test_the_worker_takes_no_modules_from_the_current_folder(bench, tmp_path):
    """Slicer may be started in any folder, and a file there may be called as one of our modules or torch's."""
    import subprocess

    from ConFUDASegmentLib.machine import findInterpreter, workerEnvironment

    (tmp_path / "confuda.py").write_text("raise SystemExit(7)", encoding="utf-8")
    command = [findInterpreter(), "-m", "confuda.labels"]
    environment = workerEnvironment(str(bench.host.moduleFolder))
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 0


def test_devices_are_found_and_a_broken_gpu_is_explained(bench, phantom):
    phantom.addVolume()
    bench.devices = {
        "event": "devices",
        "torch": "2.5",
        "devices": [
            {"id": "cpu", "name": "CPU", "usable": True, "reason": "", "secondsPerStep": 0.03},
            {"id": "cuda:0", "name": "Old GPU", "usable": False, "reason": "no kernel image", "secondsPerStep": None},
            {"id": "cuda:1", "name": "New GPU", "usable": True, "reason": "", "secondsPerStep": 0.001},
        ],
    }
    bench.widget.enter()
    assert "Looking" in bench.ui.estimateLabel.text()
    bench.run(lambda: not bench.panel._probe.isRunning)

    names = [bench.ui.deviceCombo.itemText(index) for index in range(bench.ui.deviceCombo.count())]
    assert names[0] == "Automatic" and names[1].startswith("CPU") and names[2:] == ["New GPU"]
    assert "Old GPU" in bench.ui.deviceNote.text() and "no kernel image" in bench.ui.deviceNote.text()
    bench.ui.deviceCombo.setCurrentIndex(2)
    assert bench.panel._parameters.device == "cuda:1"


def test_a_dead_probe_leaves_the_cpu(bench, phantom):
    phantom.addVolume()
    bench.devices = {"event": "nothing"}
    bench.widget.enter()
    bench.run(lambda: not bench.panel._probe.isRunning)
    assert "can't be used" in bench.ui.deviceNote.text()
    assert bench.ui.applyButton.isEnabled()


def test_true_probe_on_this_machine(bench):
    pytest.importorskip("torch")
    import json
    import subprocess
    import sys

    from ConFUDASegmentLib.machine import workerEnvironment

    answer = subprocess.run(
        [sys.executable, "-m", "confuda.app.probe"],
        env=workerEnvironment(str(bench.host.moduleFolder)),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    event = json.loads(answer.stdout)
    assert event["devices"][0]["id"] == "cpu" and event["devices"][0]["secondsPerStep"] > 0


def test_estimate_learns_from_the_run(bench, phantom):
    phantom.addVolume()
    bench.widget.enter()
    bench.run(lambda: not bench.panel._probe.isRunning)
    assert "first guess" in bench.ui.estimateLabel.text()
    bench.runFromPanel()
    assert "last run" in bench.ui.estimateLabel.text() and "5 s" in bench.ui.estimateLabel.text()
    bench.ui.presetCombo.setCurrentIndex(2)
    assert "first guess" in bench.ui.estimateLabel.text()


def test_durations():
    from ConFUDASegmentLib.machine import duration

    assert [duration(seconds) for seconds in (1, 33, 80, 3300)] == ["5 s", "35 s", "1 min", "0.9 h"]
