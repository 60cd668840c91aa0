"""Device profiles: presets with sources, files of one's own, and clear words for what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxsqueeze import cost
from onnxsqueeze.cli import main
from onnxsqueeze.errors import DeviceError, SqueezeError

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"

OWN = """\
name = "mine"
[energy]
table = "45nm"
dram = { value = 320.0, source = "a data sheet" }
[compute]
float32 = { value = 1e9, source = "a data sheet" }
[memory]
dram_bandwidth = { value = 1e9, source = "a data sheet" }
sram_bytes = { value = 0, source = "a data sheet" }
storage_bandwidth = { value = 1e8, source = "a data sheet" }
[efficiency]
default = { value = 0.5, source = "a guess" }
[overhead]
node = { value = 0, source = "a guess" }
"""


def test_the_presets() -> None:
    assert cost.devices() == ["a100-2-4", "a100-dense", "eie", "generic-cpu", "microcontroller", "mobile-soc"]
    assert cost.load_device("a100-2:4").name == "a100-2:4"


@pytest.mark.parametrize("name", cost.devices())
def test_every_constant_has_a_source(name: str) -> None:
    device = cost.load_device(name)
    assert device.description
    for key, constant in device.constants.items():
        assert len(constant.source) >= 7, key


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    device = cost.load_device(path)
    assert (device.name, device["compute.float32"], device.efficiency("conv")) == ("mine", 1e9, 0.5)
    assert device.energy.picojoules["word.dram"] == 320 and device.energy.sources["word.dram"] == "a data sheet"
    found = cost.estimate(cost.analyse(LENET), device)
    assert found.time.total > 0 and not found.on_chip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("float32 =", "flaot32 ="), "unknown constant 'compute.flaot32'; did you mean 'compute.float32'"),
        (("[efficiency]", "[efficacy]"), "unknown entry 'efficacy'"),
        (("[compute]\nfloat32", "[compute]\nint8"), "lacks 'compute.float32'"),
        (('{ value = 1e8, source = "a data sheet" }', "1e8"), "'memory.storage_bandwidth' must be { value = NUMBER"),
        (("value = 1e8", "value = -1"), "'memory.storage_bandwidth' is -1, which is not positive"),
        (("value = 1e8", "value = nan"), "'memory.storage_bandwidth' is nan"),
        (("value = 1e8", "value = true"), "'memory.storage_bandwidth' must be { value = NUMBER"),
        (("value = 1e8", "value = 0"), "'memory.storage_bandwidth' is 0"),
        (('"45nm"', '"3nm"'), "unknown energy table '3nm'; choose one of 45nm"),
        (('name = "mine"', "name = 7"), "'name' must be a text"),
        (('name = "mine"', 'reads_packed = "yes"'), "'reads_packed' must be true or false"),
        (('name = "mine"', "compute = 3"), "is no TOML"),
        (("[energy]", "[energy"), "is no TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(*change, 1))
    with pytest.raises(DeviceError) as caught:
        cost.load_device(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "energy table" in message
    assert "\n" not in str(caught.value).strip()


def test_unknown_devices_have_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="unknown device 'mobile-sock'; did you mean 'mobile-soc'"):
        cost.load_device("mobile-sock")
    with pytest.raises(DeviceError, match="choose one of a100-2-4"):
        cost.load_device("toaster")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeviceError, match="cannot be read"):
        cost.load_device(tmp_path / "binary.toml")
    with pytest.raises(DeviceError, match="unknown device"):
        cost.load_device(tmp_path)


def test_the_command_line_takes_profiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    assert main(["report", str(LENET), str(LENET), "--no-run", "--device", str(path)]) == 0
    assert "estimated for mine" in capsys.readouterr().out
    path.write_text("x")
    assert main(["report", str(LENET), str(LENET), "--no-run", "--device", str(path)]) == 1
    assert "is no TOML" in capsys.readouterr().err


def test_errors_are_the_projects() -> None:
    assert issubclass(DeviceError, SqueezeError)
