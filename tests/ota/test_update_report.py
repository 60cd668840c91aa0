"""The report on an update: figures that follow from the files and the tables."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from pairs import Versions, grown, retrained, saved, small

from onnxsqueeze.cli import main
from onnxsqueeze.errors import ModelError
from onnxsqueeze.ota import diff, report
from onnxsqueeze.ota.links import limits, links


def test_bytes_time_energy_and_price(versions: Versions, tmp_path: Path) -> None:
    found = report(versions.old, versions.kept, ["lte", "lora"], fleet=1000, price_per_gb=0.5)
    full, packed, delta = (way.nbytes for way in found.ways)
    assert full == versions.kept.stat().st_size
    assert delta == diff(versions.old, versions.kept, tmp_path / "u.osq").nbytes
    assert delta < packed <= 1.01 * full
    assert [link.name for link in found.links] == ["lte", "lora"]
    lte = links()["lte"]
    cost = next(cost for cost in found.costs if (cost.link, cost.way) == ("lte", "full"))
    assert cost.seconds == pytest.approx(8 * full / 13e6)
    assert cost.joules == pytest.approx(cost.seconds * lte.power + lte.tail)
    assert found.bills[0].gigabytes == pytest.approx(full * 1000 / 1e9)
    assert found.bills[2].price == pytest.approx(delta * 1000 / 1e9 * 0.5)
    assert all(bill.price is None for bill in report(versions.old, versions.kept).bills)


def test_what_changed(tmp_path: Path) -> None:
    first = small().graph.initializer[0].name
    old = saved(small(), tmp_path / "old.onnx")
    new = saved(grown(retrained(small(), 0.1, only=first)), tmp_path / "new.onnx")
    found = {change.name: change for change in report(old, new).changes}
    assert (found[first].status, found["more.weight"].status) == ("changed", "new")
    assert sorted(change.status for change in found.values()) == ["changed", "new", "unchanged"]
    assert found[first].share == pytest.approx(1, abs=0.01)
    assert found[first].distance == pytest.approx(0.1, rel=0.1)
    back = {change.name: change.status for change in report(new, old).changes}
    assert back["more.weight"] == "removed"


def test_every_number_has_a_source_and_a_date() -> None:
    assert {"wifi", "lte", "3g", "lora"} <= set(links())
    for link in links().values():
        assert link.rate > 0 and link.power > 0 and link.tail >= 0
        assert len(link.sources) == 3 and all(len(source) > 20 for source in link.sources) and link.date
    assert len(limits()) >= 5
    assert all(limit.source and limit.date and limit.nbytes > 10**7 for limit in limits())


def test_unknown_links(versions: Versions) -> None:
    with pytest.raises(ModelError, match="did you mean 'lora'"):
        report(versions.old, versions.kept, ["lorra"])
    with pytest.raises(ModelError, match="known are"):
        report(versions.old, versions.kept, ["pigeon"])


def test_the_command(versions: Versions, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [str(versions.old), str(versions.kept)]
    assert main(["ota", "report", *pair, "--fleet", "100000", "--price-per-gb", "0.08"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("delta", "LoRaWAN", "App Store", "What changed", "fleet of 100,000"))
    assert main(["ota", "report", *pair, "--links", "wifi", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [way["name"] for way in told["ways"]] == ["full", "compressed", "delta"]
    with pytest.raises(SystemExit) as ended:
        main(["ota", "report", *pair, "--price-per-gb", "nan"])
    assert ended.value.code == 2


def test_an_unchanged_model(tmp_path: Path) -> None:
    old = saved(small(), tmp_path / "old.onnx")
    assert {change.status for change in report(old, old).changes} == {"unchanged"}
    assert onnx.load(old).graph.name == "g"
